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

const LIMITS = { ...DEFAULT_LIMITS, ackBytes: 100, ackAtOnceBytes: 400, ackIntervalMs: 10 };
const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

function ackedBy(frame: OutFrame | undefined): unknown {
  if (frame === undefined) return undefined;
  assert.deepEqual(decodeHeader(frame.head), { type: MECHANICS['session.ack'], stream: 0, flags: 0 });
  return (decodeValue(frame.head.subarray(8), LIMITS, 'an ack') as { bytes: number }).bytes;
}

test('an ack is due once enough has come and some time has passed', () => {
  const acks = new Acks(LIMITS);
  assert.equal(acks.due(99, 1000, false), undefined);
  assert.equal(ackedBy(acks.due(100, 1000, false)), 100);
});

test('acks keep their distance, unless others leave anyway or much has come', () => {
  const acks = new Acks(LIMITS);
  acks.due(100, 1000, false)?.sent?.();
  assert.equal(acks.due(300, 1009, false), undefined);
  const withOthers = acks.due(300, 1009, true);
  assert.equal(ackedBy(withOthers), 300);
  withOthers?.sent?.();
  assert.equal(acks.due(699, 1010, false), undefined);
  const atOnce = acks.due(700, 1010, false);
  assert.equal(ackedBy(atOnce), 700);
  atOnce?.sent?.();
  assert.equal(acks.due(799, 5000, true), undefined, 'too little has come');
  assert.equal(ackedBy(acks.due(800, 5000, false)), 800);
});

test('one ack waits at most, whatever comes', () => {
  const acks = new Acks(LIMITS);
  const waiting = acks.due(1000, 1000, false);
  assert.ok(waiting !== undefined);
  assert.equal(acks.due(1_000_000, 9000, true), undefined);
  waiting.sent?.();
  assert.equal(ackedBy(acks.due(1_000_000, 9000, false)), 1_000_000);
});

test("the peer's acks rise to what was sent, and no further", () => {
  const acks = new Acks(LIMITS);
  acks.take(encode({ bytes: 50 }), 100);
  assert.equal(acks.acked, 50);
  acks.take(encode({ bytes: 50 }), 100);
  acks.take(encode({ bytes: 100 }), 100);
  assert.equal(acks.acked, 100);
  assert.throws(() => acks.take(encode({ bytes: 99 }), 100), code('PROTOCOL_ERROR'));
  assert.throws(() => acks.take(encode({ bytes: 101 }), 100), code('PROTOCOL_ERROR'));
  assert.equal(acks.acked, 100);
});

for (const value of [{}, { bytes: -1 }, { bytes: 0.5 }, { bytes: '1' }, { bytes: 1, more: 1 }, [1], null, 7]) {
  test(`${JSON.stringify(value)} is no ack`, () => {
    assert.throws(() => new Acks(LIMITS).take(encode(value), 1000), code('MESSAGE_INVALID'));
  });
}
