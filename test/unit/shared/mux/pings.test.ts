import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { Pings } from '../../../../shared/mux/pings.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

function make(max = 3) {
  const clock = new FakeClock();
  const ids: number[] = [];
  const pings = new Pings(clock, max);
  return { clock, ids, pings, send: (timeoutMs = 1000) => pings.send(timeoutMs, (id) => ids.push(id)) };
}

test('a pong tells the round trip of its own ping', async () => {
  const { clock, ids, pings, send } = make();
  const first = send();
  clock.advance(30);
  const second = send();
  clock.advance(12);
  assert.notEqual(ids[0], ids[1]);
  pings.pong(ids[1] ?? 0);
  pings.pong(ids[0] ?? 0);
  assert.equal(await first, 42);
  assert.equal(await second, 12);
  assert.equal(clock.pendingTimers, 0);
});

test('a ping without pong fails after its time, and its place is free again', async () => {
  const { clock, ids, pings, send } = make(1);
  const ping = send(500);
  await assert.rejects(send(), code('OVERLOADED'));
  clock.advance(499);
  const early = await Promise.race([ping, Promise.resolve('waiting')]);
  assert.equal(early, 'waiting');
  clock.advance(1);
  await assert.rejects(ping, code('TIMEOUT'));
  const next = send();
  pings.pong(ids[0] ?? 0);
  pings.pong(ids[1] ?? 0);
  assert.equal(await next, 0);
});

test('pongs that nobody waits for are of no interest', async () => {
  const { ids, pings, send } = make();
  for (const id of [0, 1, 77, Number.MAX_SAFE_INTEGER]) pings.pong(id);
  const ping = send();
  pings.pong((ids[0] ?? 0) + 1);
  pings.pong(ids[0] ?? 0);
  pings.pong(ids[0] ?? 0);
  assert.equal(await ping, 0);
});

test('the end of the session fails every ping', async () => {
  const { clock, pings, send } = make();
  const waiting = [send(), send()];
  pings.fail(new FairleadError('STREAM_INTERRUPTED', 'cut'));
  for (const ping of waiting) await assert.rejects(ping, code('STREAM_INTERRUPTED'));
  assert.equal(clock.pendingTimers, 0);
});

test('a peer that does not read its pongs may not ask for more', () => {
  const { pings } = make();
  const sent: (() => void)[] = [];
  for (let count = 0; count < 3; count += 1) pings.answer((done) => sent.push(done));
  assert.throws(() => pings.answer(() => assert.fail('queued')), code('PROTOCOL_ERROR'));
  sent[0]?.();
  pings.answer((done) => sent.push(done));
  assert.throws(() => pings.answer(() => undefined), code('PROTOCOL_ERROR'));
});
