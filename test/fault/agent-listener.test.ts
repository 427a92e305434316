import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { before, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { createCsr, readCsr } from '../../certs/csr.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { HostRegistry } from '../../server/hosts/registry.ts';
import { AgentListener } from '../../server/mesh/agent-listener.ts';
import { type Clock, systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { HELLO_TIMEOUT_MS } from '../../shared/limits.ts';
import type { Hello } from '../../shared/messages/control.ts';
import { hostLeave } from '../../shared/messages/host.ts';
import { CATALOGUE, SUBPROTOCOL } from '../../shared/messages/index.ts';
import { greetServer } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import { WS_OPTIONS, wsTransport } from '../../shared/mux/ws-transport.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type TestCa, testCa } from '../unit/certs/fixtures.ts';

const DAY_MS = 86_400_000;
const log = pino({ level: 'silent' });
const HELLO: Hello = {
  versions: [1],
  agentVersion: '0.1.0',
  instanceId: 'instance',
  hostname: 'machine',
  os: 'linux',
  arch: 'x64',
  docker: { reachable: false },
  capabilities: [],
  policy: { allow: [], deny: [] },
};

interface Pair {
  key: string;
  cert: string;
}

let own: TestCa;
let leaf: Pair;

before(async () => {
  own = await testCa();
  const { keyPem, certPem } = await own.ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  leaf = { key: keyPem, cert: certPem };
});

async function agentPair(
  ca: TestCa,
  hostId: string = randomUUID(),
): Promise<Pair & { hostId: string; serial: string }> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const { spki } = await readCsr(await createCsr(createPrivateKey(key)));
  const { installationId } = ca;
  const issued = await ca.ca.issueAgent({ spki, hostId, installationId, clock: systemClock });
  return { key, cert: issued.certPem, hostId, serial: issued.serial };
}

interface Fixture {
  port: number;
  active: Set<string>;
  registry: HostRegistry;
  listener: AgentListener;
  left: string[];
}

async function start(t: TestContext, options: { clock?: Clock; revoked?: Set<string> } = {}): Promise<Fixture> {
  const { clock = systemClock, revoked = new Set() } = options;
  const active = new Set<string>();
  const left: string[] = [];
  const registry = new HostRegistry();
  const listener = new AgentListener({
    clock,
    log,
    random: () => 0.5,
    registry,
    serverVersion: '0.1.0',
    installationId: own.installationId,
    caPem: own.ca.certPem,
    tls: leaf,
    isActive: (serial) => active.has(serial),
    refusal: async (serial) =>
      new FairleadError(revoked.has(serial) ? 'CERT_REVOKED' : 'CERT_UNKNOWN', 'the certificate is not active'),
    isForged: async () => false,
    use: async () => undefined,
    renew: async () => {
      throw new FairleadError('UNSUPPORTED', 'no renewal here');
    },
    hostName: async () => 'alpha',
    leave: async (hostId) => {
      left.push(hostId);
    },
  });
  const port = await listener.listen('127.0.0.1', 0);
  t.after(() => listener.close(0, 0));
  return { port, active, registry, listener, left };
}

const trust = () => ({ ca: own.ca.certPem, servername: INTERNAL_SERVER_NAME });

/** Whether TLS and one read get through; what a refused client sees differs by version. */
async function tlsOutcome(port: number, options: tls.ConnectionOptions): Promise<'open' | 'refused'> {
  const socket = tls.connect({ host: '127.0.0.1', port, ...trust(), ...options });
  socket.on('error', () => undefined);
  try {
    return await new Promise((resolve) => {
      socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
      socket.once('data', () => resolve('open'));
      socket.once('close', () => resolve('refused'));
    });
  } finally {
    socket.destroy();
  }
}

interface Refusal {
  status: number | undefined;
  code: string | undefined;
}

/** Connects as an agent; what a refusal says, or the open WebSocket. */
async function dial(t: TestContext, port: number, pair: Pair, path = '/agent', protocol = SUBPROTOCOL) {
  const ws = new WebSocket(`wss://127.0.0.1:${port}${path}`, protocol, { ...trust(), ...pair, ...WS_OPTIONS });
  t.after(() => ws.terminate());
  return await new Promise<{ ws: WebSocket; refusal?: Refusal }>((resolve, reject) => {
    ws.once('open', () => resolve({ ws }));
    ws.once('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => {
        const code =
          response.headers['content-type'] === 'application/problem+json' ? JSON.parse(body).code : undefined;
        resolve({ ws, refusal: { status: response.statusCode, code } });
      });
    });
    ws.once('error', reject);
  });
}

function sessionOn(ws: WebSocket): Session {
  const ignore = () => undefined;
  const common = { catalogue: CATALOGUE, clock: systemClock, onStream: ignore, onControl: ignore };
  return new Session({ side: 'agent', transport: wsTransport(ws), ...common });
}

async function connect(t: TestContext, port: number, pair: Pair, instanceId = 'instance'): Promise<Session> {
  const { ws } = await dial(t, port, pair);
  const session = sessionOn(ws);
  await greetServer(session, { ...HELLO, instanceId });
  return session;
}

test('only an agent certificate of this CA gets through TLS 1.3', async (t) => {
  const { port, active } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const foreign = await testCa();
  assert.equal(await tlsOutcome(port, pair), 'open');
  assert.equal(await tlsOutcome(port, {}), 'refused', 'no certificate');
  assert.equal(await tlsOutcome(port, await agentPair(foreign)), 'refused', "another CA's");
  assert.equal(await tlsOutcome(port, leaf), 'refused', "the server's own leaf");
  assert.equal(await tlsOutcome(port, { ...pair, maxVersion: 'TLSv1.2' }), 'refused', 'TLS 1.2');
  const stranger = await agentPair({ ...own, installationId: randomUUID() });
  assert.equal(await tlsOutcome(port, stranger), 'refused', "another installation's name");
});

test('no TLS session is resumed: each connection proves its key', async (t) => {
  const { port, active } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const first = tls.connect({ host: '127.0.0.1', port, ...trust(), ...pair });
  const tickets: Buffer[] = [];
  first.on('session', (ticket: Buffer) => tickets.push(ticket));
  first.once('secureConnect', () => first.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
  await once(first, 'data');
  first.destroy();
  for (const session of tickets) {
    const second = tls.connect({ host: '127.0.0.1', port, ...trust(), ...pair, session });
    second.on('error', () => undefined);
    await Promise.race([once(second, 'secureConnect'), once(second, 'close')]);
    assert.equal(second.isSessionReused(), false);
    second.destroy();
  }
});

test('a refused agent reads why', async (t) => {
  const revoked = await agentPair(own);
  const unknown = await agentPair(own);
  const good = await agentPair(own);
  const { port, active } = await start(t, { revoked: new Set([revoked.serial]) });
  active.add(good.serial);
  const code = async (pair: Pair, path?: string, protocol?: string) =>
    (await dial(t, port, pair, path, protocol)).refusal?.code;
  assert.equal(await code(revoked), 'CERT_REVOKED');
  assert.equal(await code(unknown), 'CERT_UNKNOWN');
  assert.equal(await code(good, '/elsewhere'), 'NOT_FOUND');
  assert.equal(await code(good, '/agent', 'fairlead.v9'), 'VERSION');
  assert.equal(await code(good), undefined);
});

test('no common version: the agent is told which ones there are', async (t) => {
  const { port, active, registry } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = sessionOn((await dial(t, port, pair)).ws);
  await assert.rejects(greetServer(session, { ...HELLO, versions: [7] }), { code: 'VERSION' });
  assert.deepEqual((await session.closed).versions, [1]);
  assert.equal(registry.size, 0);
});

test('a session makes its host online; a newer one takes over at once and the older one is told', async (t) => {
  const { port, active, registry } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const first = await connect(t, port, pair, 'one');
  assert.equal(registry.link(pair.hostId)?.instanceId, 'one');
  const second = await connect(t, port, pair, 'two');
  assert.equal((await first.closed).code, 'REPLACED');
  assert.equal(registry.link(pair.hostId)?.instanceId, 'two');
  assert.ok((await second.ping()) >= 0);
});

test('revocation ends the live session, with its reason, and what has no session yet', async (t) => {
  const { port, active, registry, listener } = await start(t);
  const [pair, other] = [await agentPair(own), await agentPair(own)];
  active.add(pair.serial).add(other.serial);
  const session = await connect(t, port, pair);
  const bystander = await connect(t, port, other);
  const silent = (await dial(t, port, pair)).ws;
  const started = performance.now();
  active.delete(pair.serial);
  listener.disconnect({ hostId: pair.hostId }, 'CERT_REVOKED', 'stolen');
  const end = await session.closed;
  assert.deepEqual([end.code, end.reason], ['CERT_REVOKED', 'stolen']);
  if (silent.readyState !== WebSocket.CLOSED) await once(silent, 'close');
  assert.ok(performance.now() - started < 1000);
  assert.equal(registry.link(pair.hostId), undefined);
  assert.ok((await bystander.ping()) >= 0, 'another host does not notice');
});

test('a certificate revoked between TLS and hello opens no session', async (t) => {
  const { port, active, registry } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = sessionOn((await dial(t, port, pair)).ws);
  active.delete(pair.serial);
  await assert.rejects(greetServer(session, HELLO), { code: 'CERT_UNKNOWN' });
  assert.equal(registry.size, 0);
});

test('thirty connections race a revocation: none survives it', async (t) => {
  const { port, active, registry, listener } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const racing = Array.from({ length: 30 }, async () => {
    const session = await connect(t, port, pair, randomUUID());
    return (await session.closed).code;
  });
  await new Promise((resolve) => setTimeout(resolve, 60));
  active.delete(pair.serial);
  listener.disconnect({ hostId: pair.hostId }, 'CERT_REVOKED', 'stolen');
  const ends = await Promise.allSettled(racing);
  assert.equal(ends.length, 30);
  assert.equal(registry.size, 0);
  assert.equal([...listener.links()].length, 0);
});

test('who says no hello within its time is cut off, before and after the upgrade', async (t) => {
  const clock = new FakeClock();
  const { port, active } = await start(t, { clock });
  const pair = await agentPair(own);
  active.add(pair.serial);
  const idle = tls.connect({ host: '127.0.0.1', port, ...trust(), ...pair });
  idle.on('error', () => undefined);
  await once(idle, 'secureConnect');
  const { ws } = await dial(t, port, pair);
  const closed = [once(idle, 'close'), once(ws, 'close')];
  clock.advance(HELLO_TIMEOUT_MS);
  await Promise.all(closed);
});

test('a session ends within 2 s of its certificate, also when the wall clock jumps', async (t) => {
  const clock = new FakeClock(Date.now());
  const { port, active } = await start(t, { clock });
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = await connect(t, port, pair);
  const silent = tls.connect({ host: '127.0.0.1', port, ...trust(), ...pair });
  silent.on('error', () => undefined);
  await once(silent, 'secureConnect');
  clock.advance(2_000);
  assert.ok((await session.ping()) >= 0, 'not before its time');
  const ends = once(silent, 'close');
  // The wall clock alone moves, as on a machine that slept.
  clock.setWallClock(Date.now() + 31 * DAY_MS);
  clock.advance(2_000);
  assert.equal((await session.closed).code, 'CERT_EXPIRED');
  await ends;
});

test('text on the agent port ends the session with PROTOCOL_ERROR and touches no other', async (t) => {
  const { port, active } = await start(t);
  const [pair, other] = [await agentPair(own), await agentPair(own)];
  active.add(pair.serial).add(other.serial);
  const bystander = await connect(t, port, other);
  const { ws } = await dial(t, port, pair);
  const session = sessionOn(ws);
  await greetServer(session, HELLO);
  ws.send('{"type":"hello"}');
  assert.equal((await session.closed).code, 'PROTOCOL_ERROR');
  assert.ok((await bystander.ping()) >= 0);
});

test('an agent leaves the mesh and gets an answer before its session ends', async (t) => {
  const { port, active, left } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = await connect(t, port, pair);
  const stream = session.open(hostLeave, { reason: 'moved' });
  assert.deepEqual(await stream.reply, {});
  assert.deepEqual(left, [pair.hostId]);
  assert.equal((await session.closed).code, 'CERT_REVOKED');
});

test('an agent that asks to leave and resets, over and over, leaves once', async (t) => {
  const { port, active, left } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = await connect(t, port, pair);
  for (let asked = 0; asked < 50; asked += 1) {
    session.open(hostLeave, { reason: 'moved' }).reset(new FairleadError('CANCELLED', 'never mind'));
  }
  assert.equal((await session.closed).code, 'CERT_REVOKED');
  assert.deepEqual(left, [pair.hostId]);
});

test('a stopping server tells its agents when to come back', async (t) => {
  const { port, active, listener } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = await connect(t, port, pair);
  await listener.close(4000);
  const end = await session.closed;
  assert.equal(end.code, 'SHUTDOWN');
  assert.equal(end.retryAfterMs, 2000);
});

test('a host that begins sessions without end is held back, and others are not', async (t) => {
  const { port, active } = await start(t);
  const [pair, other] = [await agentPair(own), await agentPair(own)];
  active.add(pair.serial).add(other.serial);
  const codes = new Set<string | undefined>();
  for (let attempt = 0; attempt < 60 && !codes.has('RATE_LIMITED'); attempt++) {
    const { ws, refusal } = await dial(t, port, pair);
    codes.add(refusal?.code);
    ws.terminate();
  }
  assert.ok(codes.has('RATE_LIMITED'));
  assert.equal((await dial(t, port, other)).refusal, undefined);
});

test('handshakes that are never finished do not keep an agent out', async (t) => {
  const { port, active } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  // More than shake hands at a time.
  const silent = Array.from({ length: 300 }, () => net.connect(port, '127.0.0.1'));
  t.after(() => {
    for (const socket of silent) socket.destroy();
  });
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  const session = await connect(t, port, pair);
  assert.ok((await session.ping()) >= 0);
});

test('a handshake that began before its root was dropped opens no session behind it', async (t) => {
  const { port, active, listener, registry } = await start(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const next = await testCa();
  // What the agent says after its ClientHello waits until the root is gone.
  const gate = Promise.withResolvers<void>();
  const relay = net.createServer((agent) => {
    const server = net.connect(port, '127.0.0.1');
    for (const socket of [agent, server]) socket.on('error', () => undefined);
    t.after(() => server.destroy());
    server.pipe(agent);
    agent.once('data', (hello) => {
      server.write(hello);
      agent.pause();
      void gate.promise.then(() => agent.pipe(server));
    });
  });
  relay.listen(0, '127.0.0.1');
  t.after(() => relay.close());
  await once(relay, 'listening');
  const socket = tls.connect({
    ...{ host: '127.0.0.1', port: (relay.address() as net.AddressInfo).port },
    ...trust(),
    ...pair,
  });
  socket.on('error', () => undefined);
  t.after(() => socket.destroy());
  await once(socket, 'secureConnect');
  listener.setTrust({ caPem: next.ca.certPem, issuers: new Set([next.ca.keyIdentifier.toString('hex')]) });
  gate.resolve();
  socket.write('POST /agent/activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n');
  const answer = await Promise.race([once(socket, 'data'), once(socket, 'close')]);
  assert.doesNotMatch(String(answer[0]), /204/);
  assert.equal(registry.link(pair.hostId), undefined);
});
