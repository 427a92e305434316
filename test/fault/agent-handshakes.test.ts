/** Who gets in at the agents' port: by its certificate, in its time, and in spite of those who only keep it busy. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { HELLO_TIMEOUT_MS } from '../../shared/limits.ts';
import { greetServer } from '../../shared/mux/handshake.ts';
import {
  agentPair,
  bareListener,
  connect,
  dial,
  leaf,
  own,
  type Pair,
  sessionOn,
  trust,
} from '../support/bare-listener.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { HELLO } from '../support/mux.ts';
import { testCa } from '../unit/certs/fixtures.ts';

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

test('only an agent certificate of this CA gets through TLS 1.3', async (t) => {
  const { port, active } = await bareListener(t);
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
  const { port, active } = await bareListener(t);
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
  const { port, active } = await bareListener(t, { revoked: new Set([revoked.serial]) });
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
  const { port, active, registry } = await bareListener(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = sessionOn((await dial(t, port, pair)).ws);
  await assert.rejects(greetServer(session, { ...HELLO, versions: [7] }), { code: 'VERSION' });
  assert.deepEqual((await session.closed).versions, [1]);
  assert.equal(registry.size, 0);
});

test('who says no hello within its time is cut off, before and after the upgrade', async (t) => {
  const clock = new FakeClock();
  const { port, active } = await bareListener(t, { clock });
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

test('a host that begins sessions without end is held back, and others are not', async (t) => {
  const { port, active } = await bareListener(t);
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
  const { port, active } = await bareListener(t);
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
  const { port, active, listener, registry } = await bareListener(t);
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
