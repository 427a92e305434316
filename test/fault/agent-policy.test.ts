/** A server that keeps to no rules and wants more of a host than its owner allows: nothing that it sends changes the policy. */
import assert from 'node:assert/strict';
import https from 'node:https';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { decode, encode } from '@msgpack/msgpack';
import { pino } from 'pino';
import type { WebSocket } from 'ws';
import { runAgent } from '../../agent/app.ts';
import { prepareStateDir, storeIdentity } from '../../agent/identity/state-dir.ts';
import { systemClock } from '../../shared/clock.ts';
import * as control from '../../shared/messages/control.ts';
import { STREAM_KINDS } from '../../shared/messages/index.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { decodeHeader, encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import { sampleOf } from '../support/sample-params.ts';
import { tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';
import { fakeDocker } from '../unit/agent/docker/fake-docker.ts';
import { newPki, type Pki } from '../unit/agent/identity/pki.ts';
import { newIdentity, startAgentPort } from '../unit/agent/link/agent-port.ts';

const POLICY = { allow: ['read-only'], deny: ['docker:POST', 'docker:DELETE', 'docker:GET /containers/*/json'] };
const WIDER = { allow: ['*', 'full', 'docker:*'], deny: [] };
const WELCOME = {
  version: 1,
  hostId: 'id',
  hostName: 'web-1',
  serverVersion: '1.0.0',
  serverTime: 0,
  heartbeatMs: 60_000,
  silenceMs: 180_000,
  limits: { frameBytes: 1_048_576, windowBytes: 262_144, streams: 256 },
};
/** Parameters that fit at least one kind each. */
const PARAMS = [
  {},
  { id: 'web' },
  { id: 'web', cmd: ['id'] },
  { id: 'web', idempotencyKey: 'k' },
  { id: 'web', policy: WIDER },
  { id: 'web', force: true, volumes: true },
  { id: '../exec' },
  { id: 'web/../../info' },
  { id: 'web%2f..%2f' },
];

let pki: Pki;
before(async () => {
  pki = await newPki();
});

/** One session, from the server's end: what was sent, and the codes with which streams were reset. */
class Hostile {
  readonly #ws: WebSocket;
  readonly resets = new Map<number, string>();
  readonly replied = new Set<number>();
  isOver = false;
  /** Why the agent ended the session. */
  goaway = '';
  #lastStream = 0;

  constructor(ws: WebSocket) {
    this.#ws = ws;
    ws.on('error', () => undefined);
    ws.once('close', () => {
      this.isOver = true;
    });
    ws.on('message', (message: Buffer) => {
      const header = decodeHeader(message);
      if (header?.type === MECHANICS['stream.reset']) {
        this.resets.set(header.stream, (decode(message.subarray(8)) as { code: string }).code);
      } else if (header?.type === control.goaway.code) {
        this.goaway = JSON.stringify(decode(message.subarray(8)));
      } else if (header !== undefined && header.stream !== 0) this.replied.add(header.stream);
    });
  }

  end(): void {
    this.#ws.terminate();
  }

  send(type: number, stream: number, flags: number, value: unknown): void {
    this.#ws.send(encodeFrame(type, stream, flags, encode(value)));
  }

  open(kind: Pick<StreamKind, 'code' | 'bytes'>, params: unknown): number {
    this.#lastStream += 2;
    const isAll = kind.bytes === 'none' || kind.bytes === 'acceptor';
    this.send(kind.code, this.#lastStream, isAll ? FLAGS.OPEN | FLAGS.END : FLAGS.OPEN, params);
    return this.#lastStream;
  }

  /** The code of the stream's reset, or undefined once it was answered; fails when the session ends before. */
  async outcome(stream: number): Promise<string | undefined> {
    await waitFor('an answer', () => this.resets.has(stream) || this.replied.has(stream), {
      everyMs: 2,
      failed: () => (this.isOver ? `the session is over: ${this.goaway}` : undefined),
    });
    return this.resets.get(stream);
  }
}

interface Field {
  /** What Docker was asked, its version aside. */
  readonly asked: string[];
  readonly hellos: control.Hello[];
  /** A welcomed session; the agent comes back after each that it ended. */
  session(welcome?: object): Promise<Hostile>;
}

/** An agent with POLICY, in front of a Docker that answers everything. */
async function field(t: TestContext): Promise<Field> {
  const asked: string[] = [];
  const docker = await fakeDocker(t, (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end('[]');
  });
  const waiting: WebSocket[] = [];
  const hellos: control.Hello[] = [];
  const port = await startAgentPort(t, pki, {
    onWebSocket: (ws) => {
      ws.once('message', (message: Buffer) => {
        hellos.push(decode(message.subarray(8)) as control.Hello);
        waiting.push(ws);
      });
    },
  });
  const stateDir = join(await tempDir(t, 'policy'), 'state');
  await prepareStateDir(stateDir);
  const identity = await newIdentity(pki, port.url);
  await storeIdentity(stateDir, { ...identity, record: { ...identity.record, ...POLICY } });
  const stop = new AbortController();
  const deps = {
    clock: systemClock,
    log: pino({ level: 'silent' }),
    // The shortest delays there are, so that each session that the agent ends is followed by another at once.
    random: () => 0,
    httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0 }),
  };
  const ended = runAgent({ stateDir, docker: docker.socket, allow: [], deny: [], renewBeforeMs: 1 }, deps, stop.signal);
  t.after(async () => {
    stop.abort();
    await within(10_000, 'the end of the agent', ended);
  });
  return {
    asked,
    hellos,
    async session(more = {}) {
      const ws = await waitFor('the agent', () => waiting.shift());
      const hostile = new Hostile(ws);
      hostile.send(control.welcome.code, 0, 0, { ...WELCOME, serverTime: Date.now(), ...more });
      return hostile;
    },
  };
}

const list = STREAM_KINDS.find(({ name }) => name === 'container.list');
const inspect = STREAM_KINDS.find(({ name }) => name === 'container.inspect');

/** What the agent asks by itself, again whenever this Docker has ended the answer. */
const OWN_CALL = /^GET \/events\?/;

/** Shows that the session is alive, that what is allowed is served, and that what is denied is not. */
async function holds(session: Hostile, { asked }: Field): Promise<void> {
  assert.ok(list !== undefined && inspect !== undefined);
  const before = asked.length;
  assert.equal(await session.outcome(session.open(list, {})), undefined);
  const served = asked.slice(before).filter((call) => !OWN_CALL.test(call));
  assert.deepEqual(served, ['GET /containers/json?']);
  assert.equal(await session.outcome(session.open(inspect, { id: 'web' })), 'DENIED_BY_HOST');
  for (const kind of STREAM_KINDS.filter(({ policy, from }) => policy !== 'read' && from === 'server')) {
    assert.equal(await session.outcome(session.open(kind, sampleOf(kind.params))), 'DENIED_BY_HOST', kind.name);
  }
}

const HARMLESS =
  /^GET \/(containers\/(json|web\/(top|stats|logs))|info|events|images\/(json|web\/json)|networks(\/web)?|volumes(\/web)?)\?/;
const isHarmless = (call: string) => HARMLESS.test(call);

test('no parameters get a denied kind or a denied call to Docker', async (t) => {
  const it = await field(t);
  let session = await it.session();
  for (const kind of STREAM_KINDS.filter(({ from }) => from === 'server')) {
    for (const params of [...PARAMS, sampleOf(kind.params), JSON.parse('{"id":"web","__proto__":{"allow":["*"]}}')]) {
      const stream = session.open(kind, params);
      // Some of these end the session, as they break the protocol.
      const outcome = await session.outcome(stream).catch(() => 'OVER');
      if (outcome === undefined) assert.equal(kind.policy, 'read', `${kind.name} ${JSON.stringify(params)}`);
      if (session.isOver) session = await it.session();
    }
  }
  await holds(session, it);
  assert.deepEqual(
    it.asked.filter((call) => !isHarmless(call)),
    [],
  );
});

test('no message of the server changes the policy', async (t) => {
  const it = await field(t);
  const named = (name: string) => {
    const kind = control.CONTROL_KINDS.find((each) => each.name === name);
    return kind?.code ?? assert.fail(name);
  };
  const attacks: [what: string, type: number, value: unknown][] = [
    ...Array.from({ length: 24 }, (_, index): [string, number, unknown] => ['a control message', index, WIDER]),
    ['a policy that nobody knows', 0x00ff, { policy: WIDER }],
    ['another welcome', named('welcome'), { ...WELCOME, policy: WIDER }],
    ['a hello', named('hello'), { ...it.hellos[0], policy: WIDER }],
    ['an acknowledgement', named('heartbeat.ack'), { seq: 0, time: 0, policy: WIDER }],
    ['a goaway', named('goaway'), { code: 'POLICY', reason: 'wider', lastStream: 0, policy: WIDER }],
    ['a mechanic on stream 0', MECHANICS['stream.signal'], { policy: WIDER }],
  ];
  for (const [what, type, value] of attacks) {
    const session = await it.session({ policy: WIDER, allow: WIDER.allow, deny: [] });
    session.send(type, 0, 0, value);
    await holds(session, it).catch((error: unknown) => {
      // The agent may well end such a session; in one that goes on all must be as before.
      if (!session.isOver || error instanceof assert.AssertionError)
        throw new Error(`after ${what} (${type})`, { cause: error });
    });
    session.end();
  }
  await holds(await it.session(), it);
  assert.deepEqual(
    it.asked.filter((call) => !isHarmless(call)),
    [],
  );
  for (const { policy } of it.hellos) assert.deepEqual(policy, POLICY, 'what the host says of itself');
});
