import assert from 'node:assert/strict';
import https from 'node:https';
import { before, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import type { Identity } from '../../../../agent/identity/state-dir.ts';
import { leave } from '../../../../agent/link/leave.ts';
import { type RunEnd, type StayConnectedOptions, stayConnected } from '../../../../agent/link/stay-connected.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { type Heartbeat, type Hello, heartbeat, welcome } from '../../../../shared/messages/control.ts';
import { hostInfo } from '../../../../shared/messages/host.ts';
import { CATALOGUE } from '../../../../shared/messages/index.ts';
import { receiveHello } from '../../../../shared/mux/handshake.ts';
import { Session } from '../../../../shared/mux/session.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { wsTransport } from '../../../../shared/mux/ws-transport.ts';
import { fixedPair } from '../../../support/fixed-pair.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { newPki, type Pki } from '../identity/pki.ts';
import { type AgentPortOptions, newIdentity, refusal, startAgentPort } from './agent-port.ts';

let pki: Pki;
before(async () => {
  pki = await newPki();
});

const docker = { reachable: false, reason: 'not there' };
const hello: Hello = {
  versions: [1],
  agentVersion: '1.2.3',
  instanceId: 'instance',
  hostname: 'machine',
  os: 'linux',
  arch: 'x64',
  docker,
  capabilities: [],
  policy: { allow: [], deny: [] },
};
const log = pino({ level: 'silent' });
const httpsAgent = new https.Agent({ keepAlive: false, maxCachedSessions: 0 });

interface ServerEnd {
  url: string;
  sessions: Session[];
  hellos: Hello[];
  beats: Heartbeat[];
}

/** A server that welcomes every agent. */
async function startServer(
  t: TestContext,
  options: { heartbeatMs?: number; silenceMs?: number; onStream?: (stream: MuxStream, session: Session) => void } = {},
): Promise<ServerEnd> {
  const end: ServerEnd = { url: '', sessions: [], hellos: [], beats: [] };
  const port: AgentPortOptions = {
    onWebSocket: (ws) => {
      const session: Session = new Session({
        side: 'server',
        transport: wsTransport(ws),
        catalogue: CATALOGUE,
        clock: systemClock,
        onStream: (stream) => options.onStream?.(stream, session),
        onControl: (kind, value) => {
          if (kind.code === heartbeat.code) end.beats.push(value as Heartbeat);
        },
      });
      // Without a common version the agent's end of the story is what counts.
      receiveHello(session).then(
        (greeting) => greet(session, greeting),
        () => undefined,
      );
    },
  };
  const greet = (session: Session, greeting: { hello: Hello; version: number }) => {
    end.hellos.push(greeting.hello);
    session.sendControl(welcome, {
      version: greeting.version,
      hostId: 'id',
      hostName: 'web-1',
      serverVersion: '1.0.0',
      serverTime: Date.now(),
      heartbeatMs: options.heartbeatMs ?? 15_000,
      silenceMs: options.silenceMs ?? 45_000,
      limits: session.advertised,
    });
    end.sessions.push(session);
  };
  end.url = (await startAgentPort(t, pki, port)).url;
  return end;
}

interface Running {
  ended: Promise<RunEnd>;
  states: string[];
  stop(): void;
  dockerChanges(): void;
}

function start(t: TestContext, identity: Identity, more: Partial<StayConnectedOptions> = {}): Running {
  const controller = new AbortController();
  const listeners = new Set<() => void>();
  const states: string[] = [];
  const options: StayConnectedOptions = {
    ...fixedPair(identity),
    httpsAgent,
    clock: systemClock,
    log,
    // The shortest delays there are.
    random: () => 0,
    hello: () => hello,
    onStream: (stream) => stream.reset(new FairleadError('UNSUPPORTED', 'no')),
    onState: (state) => states.push(state),
    vitals: {
      load: () => [1, 2, 3],
      streams: () => 7,
      docker: () => docker,
      onDockerState: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    ...more,
  };
  const ended = stayConnected(options, controller.signal);
  const stop = () => controller.abort(new FairleadError('SHUTDOWN', 'stopped'));
  t.after(async () => {
    stop();
    await ended;
    assert.equal(listeners.size, 0, 'nobody listens to Docker any more');
  });
  return {
    ended,
    states,
    stop,
    dockerChanges: () => {
      for (const listener of listeners) listener();
    },
  };
}

test('connects, says hello, beats at once, at the pace of the welcome, and when Docker changes', async (t) => {
  const server = await startServer(t, { heartbeatMs: 200 });
  const running = start(t, await newIdentity(pki, server.url));
  await waitFor('three heartbeats', () => server.beats.length >= 3);
  assert.deepEqual(server.hellos, [hello]);
  const [first, second] = server.beats;
  assert.equal(first?.seq, 0);
  assert.equal(second?.seq, 1);
  assert.deepEqual(first?.load, [1, 2, 3]);
  assert.equal(first?.streams, 7);
  const slow = await startServer(t);
  const other = start(t, await newIdentity(pki, slow.url));
  await waitFor('the first heartbeat', () => slow.beats.length === 1);
  other.dockerChanges();
  await waitFor('another heartbeat', () => slow.beats.length === 2);
  assert.deepEqual(running.states, ['connecting', 'online']);
});

test('a stop drains the session: a running stream may finish, then the end is a clean one', async (t) => {
  const streams: MuxStream[] = [];
  const server = await startServer(t);
  const running = start(t, await newIdentity(pki, server.url), { onStream: (stream) => void streams.push(stream) });
  await waitFor('a session', () => server.beats.length > 0);
  const [session] = server.sessions;
  assert.ok(session);
  const asked = session.open(hostInfo, {});
  await waitFor('the stream at the agent', () => streams.length === 1);
  running.stop();
  await waitFor('the goaway', () => session.draining);
  const [stream] = streams as unknown as MuxStream<typeof hostInfo>[];
  stream?.sendReply({
    hostname: 'machine',
    os: 'linux',
    arch: 'x64',
    kernel: 'k',
    agentVersion: '1',
    cpus: 1,
    memoryBytes: 1,
    uptimeSeconds: 1,
    docker,
  });
  stream?.finish();
  assert.equal((await asked.reply).hostname, 'machine');
  assert.deepEqual(await within(3000, 'the stop', running.ended), { exitCode: 0, reason: 'stopped' });
  assert.equal((await session.closed).code, 'SHUTDOWN');
});

test('comes back when the connection breaks, and when the server goes away', async (t) => {
  const server = await startServer(t);
  const running = start(t, await newIdentity(pki, server.url));
  await waitFor('a session', () => server.sessions.length === 1);
  server.sessions[0]?.destroy(new FairleadError('INTERNAL', 'a fault'));
  await waitFor('a second session', () => server.sessions.length === 2);
  await server.sessions[1]?.goaway({ code: 'SHUTDOWN', reason: 'a restart', deadlineMs: 100 });
  await waitFor('a third session', () => server.sessions.length === 3);
  assert.deepEqual(running.states.slice(0, 4), ['connecting', 'online', 'waiting', 'connecting']);
});

test('a silent server is given up after the time that its welcome said', async (t) => {
  const server = await startServer(t, { silenceMs: 300, heartbeatMs: 60_000 });
  start(t, await newIdentity(pki, server.url));
  await waitFor('a second session', () => server.sessions.length >= 2, { timeoutMs: 5000 });
  assert.equal((await server.sessions[0]?.closed)?.code, 'TIMEOUT');
});

test('after a replacement it waits for seconds', async (t) => {
  const server = await startServer(t);
  const running = start(t, await newIdentity(pki, server.url));
  await waitFor('a session', () => server.sessions.length === 1);
  server.sessions[0]?.destroy(new FairleadError('REPLACED', 'a newer session of the same host took over'));
  await waitFor('the wait', () => running.states.at(-1) === 'waiting');
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(server.sessions.length, 1);
  running.stop();
  assert.equal((await within(1000, 'the stop', running.ended)).exitCode, 0);
});

test('a revocation is final: at the upgrade and in a session', async (t) => {
  const port = await startAgentPort(t, pki, { refuse: refusal(403, 'CERT_REVOKED') });
  const refused = await start(t, await newIdentity(pki, port.url)).ended;
  assert.equal(refused.exitCode, 3);
  assert.match(refused.reason, /because of CERT_REVOKED/);
  const server = await startServer(t);
  const running = start(t, await newIdentity(pki, server.url));
  await waitFor('a session', () => server.sessions.length === 1);
  server.sessions[0]?.destroy(new FairleadError('CERT_REVOKED', 'lost laptop'));
  const ended = await within(2000, 'the end', running.ended);
  assert.equal(ended.exitCode, 3);
  assert.match(ended.reason, /lost laptop/);
});

test('no common version is final, an unknown certificate is not', async (t) => {
  const server = await startServer(t);
  const newer = start(t, await newIdentity(pki, server.url), { hello: () => ({ ...hello, versions: [9] }) });
  assert.equal((await within(2000, 'the end', newer.ended)).exitCode, 6);
  const port = await startAgentPort(t, pki, { refuse: refusal(403, 'CERT_UNKNOWN') });
  const asked: string[] = [];
  const recover = async (why: string) => void asked.push(why);
  const running = start(t, await newIdentity(pki, port.url), { recover });
  await waitFor('another attempt', () => port.upgrades.length >= 2);
  assert.match(asked[0] ?? '', /because of CERT_UNKNOWN/, 'it first asks for another one');
  running.stop();
  assert.equal((await running.ended).exitCode, 0);
});

test('an expired certificate is final without a way back, and no connection is made', async (t) => {
  const port = await startAgentPort(t, pki);
  const identity = await newIdentity(pki, port.url);
  const clock = { ...systemClock, now: () => Date.now() + 31 * 86_400_000 };
  const ended = await start(t, identity, { clock }).ended;
  assert.equal(ended.exitCode, 5);
  assert.match(ended.reason, /expired on/);
  assert.equal(port.upgrades.length, 0);
});

test('a fault of ours ends the run instead of being tried again', async (t) => {
  const server = await startServer(t);
  const identity = await newIdentity(pki, server.url);
  const controller = new AbortController();
  const ended = stayConnected(
    {
      ...fixedPair(identity),
      httpsAgent,
      clock: systemClock,
      log,
      random: () => 0,
      hello: () => {
        throw new RangeError('a fault');
      },
      onStream: () => undefined,
      onState: () => undefined,
      vitals: { load: () => [], streams: () => 0, docker: () => docker, onDockerState: () => () => undefined },
    },
    controller.signal,
  );
  await assert.rejects(ended, RangeError);
});

test('leave: the server confirms, or has revoked the host already; anything else is an error', async (t) => {
  const options = { hello, httpsAgent, clock: systemClock };
  const asked: unknown[] = [];
  const server = await startServer(t, {
    onStream: (stream, session) => {
      asked.push(stream.params);
      stream.sendReply({});
      stream.finish();
      void stream.closed.then(() => session.destroy(new FairleadError('CERT_REVOKED', 'left')));
    },
  });
  await leave({ ...options, identity: await newIdentity(pki, server.url) }, 'enough');
  assert.deepEqual(asked, [{ reason: 'enough' }]);

  const abrupt = await startServer(t, {
    onStream: (_stream, session) => session.destroy(new FairleadError('CERT_REVOKED', 'left')),
  });
  await leave({ ...options, identity: await newIdentity(pki, abrupt.url) }, 'enough');

  const revoked = await startAgentPort(t, pki, { refuse: refusal(403, 'CERT_REVOKED') });
  await leave({ ...options, identity: await newIdentity(pki, revoked.url) }, 'enough');

  const failing = await startServer(t, {
    onStream: (stream) => stream.reset(new FairleadError('STORE_UNAVAILABLE', 'no disk')),
  });
  const failed = leave({ ...options, identity: await newIdentity(pki, failing.url) }, 'enough');
  await assert.rejects(failed, (error) => isFairleadError(error, 'STORE_UNAVAILABLE'));
});
