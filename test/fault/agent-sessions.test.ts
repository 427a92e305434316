/** How the sessions of agents begin and end at the server: replaced, revoked, expired, left, told to come back. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import tls from 'node:tls';
import { WebSocket } from 'ws';
import { FairleadError } from '../../shared/errors.ts';
import { hostLeave } from '../../shared/messages/host.ts';
import { greetServer } from '../../shared/mux/handshake.ts';
import { agentPair, bareListener, connect, dial, own, sessionOn, trust } from '../support/bare-listener.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { HELLO } from '../support/mux.ts';
import { within } from '../support/wait.ts';

const DAY_MS = 86_400_000;

test('a session makes its host online; a newer one takes over at once and the older one is told', async (t) => {
  const { port, active, registry } = await bareListener(t);
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
  const { port, active, registry, listener } = await bareListener(t);
  const [pair, other] = [await agentPair(own), await agentPair(own)];
  active.add(pair.serial).add(other.serial);
  const session = await connect(t, port, pair);
  const bystander = await connect(t, port, other);
  const silent = (await dial(t, port, pair)).ws;
  active.delete(pair.serial);
  listener.disconnect({ hostId: pair.hostId }, 'CERT_REVOKED', 'stolen');
  const silentEnd = silent.readyState === WebSocket.CLOSED ? undefined : once(silent, 'close');
  const [end] = await within(1000, 'both ends', Promise.all([session.closed, silentEnd]));
  assert.deepEqual([end.code, end.reason], ['CERT_REVOKED', 'stolen']);
  assert.equal(registry.link(pair.hostId), undefined);
  assert.ok((await bystander.ping()) >= 0, 'another host does not notice');
});

test('a certificate revoked between TLS and hello opens no session', async (t) => {
  const { port, active, registry } = await bareListener(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = sessionOn((await dial(t, port, pair)).ws);
  active.delete(pair.serial);
  await assert.rejects(greetServer(session, HELLO), { code: 'CERT_UNKNOWN' });
  assert.equal(registry.size, 0);
});

test('thirty connections race a revocation: none survives it', async (t) => {
  const { port, active, registry, listener } = await bareListener(t);
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

test('a session ends within 2 s of its certificate, also when the wall clock jumps', async (t) => {
  const clock = new FakeClock(Date.now());
  const { port, active } = await bareListener(t, { clock });
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
  const { port, active } = await bareListener(t);
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
  const { port, active, left } = await bareListener(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = await connect(t, port, pair);
  const stream = session.open(hostLeave, { reason: 'moved' });
  assert.deepEqual(await stream.reply, {});
  assert.deepEqual(left, [pair.hostId]);
  assert.equal((await session.closed).code, 'CERT_REVOKED');
});

test('an agent that asks to leave and resets, over and over, leaves once', async (t) => {
  const { port, active, left } = await bareListener(t);
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
  const { port, active, listener } = await bareListener(t);
  const pair = await agentPair(own);
  active.add(pair.serial);
  const session = await connect(t, port, pair);
  await listener.close();
  const end = await session.closed;
  assert.equal(end.code, 'SHUTDOWN');
  assert.equal(end.retryAfterMs, 1500);
});
