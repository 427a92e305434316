import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { isFairleadError } from '../../../../shared/errors.ts';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import { Acks } from '../../../../shared/mux/acks.ts';
import { decodeHeader } from '../../../../shared/mux/frame.ts';
import type { OutFrame } from '../../../../shared/mux/scheduler.ts';
import { DEFAULT_LIMITS } from '../../../../shared/mux/session-limits.ts';
import { decodeValue } from '../../../../shared/mux/values.ts';

const LIMITS = { ...DEFAULT_LIMITS, ackEveryBytes: 100, minAckEveryBytes: 40, maxAckEveryBytes: 10_000 };
const ignore = () => undefined;
const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

function value(frame: OutFrame | undefined, type: 'session.ack' | 'session.ack.frequency' = 'session.ack'): unknown {
  if (frame === undefined) return undefined;
  assert.deepEqual(decodeHeader(frame.head), { type: MECHANICS[type], stream: 0, flags: 0 });
  return decodeValue(frame.head.subarray(8), LIMITS, 'an ack');
}

test('an ack is due once enough has come, and says when the last of it came', () => {
  const acks = new Acks(LIMITS);
  assert.equal(acks.isDue(99), false);
  assert.equal(acks.isDue(100), true);
  const first = acks.next(100, 7.5, ignore);
  assert.deepEqual(value(first), { bytes: 100, at: 7500 });
  first?.sent?.();
  assert.equal(acks.isDue(199), false);
  assert.equal(acks.isDue(200), true);
});

test('an ack that leaves with others wants half of it', () => {
  const acks = new Acks(LIMITS);
  assert.equal(acks.next(49, 1, ignore), undefined);
  assert.deepEqual(value(acks.next(50, 1, ignore)), { bytes: 50, at: 1000 });
});

test('one ack waits at most, whatever comes', () => {
  const acks = new Acks(LIMITS);
  const waiting = acks.next(1000, 1, ignore);
  assert.ok(waiting !== undefined);
  assert.equal(acks.isDue(1_000_000), false);
  assert.equal(acks.next(1_000_000, 9, ignore), undefined);
  waiting.sent?.();
  assert.deepEqual(value(acks.next(1_000_000, 9, ignore)), { bytes: 1_000_000, at: 9000 });
});

test('once an ack has left, who made it looks for another', () => {
  const acks = new Acks(LIMITS);
  const due: boolean[] = [];
  acks.next(100, 1, () => due.push(acks.isDue(250)))?.sent?.();
  assert.deepEqual(due, [true]);
});

test("the peer's acks rise to what was sent, and no further, and so does their time", () => {
  const acks = new Acks(LIMITS);
  acks.take(encode({ bytes: 50, at: 1000 }), 100);
  acks.take(encode({ bytes: 50, at: 1000 }), 100);
  acks.take(encode({ bytes: 100, at: 2500 }), 100);
  assert.deepEqual([acks.acked, acks.ackedAt], [100, 2.5]);
  assert.throws(() => acks.take(encode({ bytes: 99, at: 3000 }), 100), code('PROTOCOL_ERROR'));
  assert.throws(() => acks.take(encode({ bytes: 101, at: 3000 }), 100), code('PROTOCOL_ERROR'));
  assert.throws(() => acks.take(encode({ bytes: 100, at: 2499 }), 100), code('PROTOCOL_ERROR'));
  assert.deepEqual([acks.acked, acks.ackedAt], [100, 2.5]);
});

test('the peer is asked for finer acks as the limit falls, and for coarser ones as it rises', () => {
  const acks = new Acks(LIMITS);
  const asked = (limit: number, perMs = 0) => value(acks.ask(limit, perMs), 'session.ack.frequency');
  assert.equal(asked(1600), undefined, 'what it does unasked');
  assert.equal(asked(2400), undefined, 'not worth a frame');
  assert.deepEqual(asked(4800), { bytes: 300 });
  assert.deepEqual(asked(1600), { bytes: 100 });
  assert.deepEqual(asked(0), { bytes: 40 });
  assert.deepEqual(asked(1e9), { bytes: 10_000 });
});

test('on a fast link acks are a ms apart, but one always comes before the limit is reached', () => {
  const acks = new Acks(LIMITS);
  assert.deepEqual(value(acks.ask(8000, 1000), 'session.ack.frequency'), { bytes: 1000 });
  assert.deepEqual(value(acks.ask(8000, 100_000), 'session.ack.frequency'), { bytes: 2000 });
});

test('a limit below twice what was asked for asks anew, whatever the ratio', () => {
  const acks = new Acks({ ...LIMITS, minAckEveryBytes: 10 });
  acks.ask(1000, 200);
  assert.deepEqual(value(acks.ask(390, 200), 'session.ack.frequency'), { bytes: 98 });
});

test('this end acks as often as the peer asks, within bounds', () => {
  const acks = new Acks(LIMITS);
  for (const [wish, kept] of [
    [200, 200],
    [0, 40],
    [39, 40],
    [Number.MAX_SAFE_INTEGER, 10_000],
  ] as const) {
    acks.takeFrequency(encode({ bytes: wish }));
    assert.deepEqual([acks.isDue(kept - 1), acks.isDue(kept)], [false, true]);
  }
});

for (const wish of [{}, { bytes: -1 }, { bytes: 0.5 }, { bytes: '1' }, { bytes: 1, more: 1 }, [1], null, 7]) {
  test(`${JSON.stringify(wish)} is no ack frequency`, () => {
    assert.throws(() => new Acks(LIMITS).takeFrequency(encode(wish)), code('MESSAGE_INVALID'));
  });
}

for (const wrong of [
  {},
  { bytes: 1 },
  { bytes: -1, at: 1 },
  { bytes: 1, at: -1 },
  { bytes: 1, at: 0.5 },
  [1],
  null,
  7,
]) {
  test(`${JSON.stringify(wrong)} is no ack`, () => {
    assert.throws(() => new Acks(LIMITS).take(encode(wrong), 1000), code('MESSAGE_INVALID'));
  });
}
