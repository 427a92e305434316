import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS, type ErrorCode, FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { isPaidFor, PeerBudgets } from '../../../../shared/mux/peer-budgets.ts';
import { DEFAULT_LIMITS } from '../../../../shared/mux/session-limits.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const LIMITS = { ...DEFAULT_LIMITS, opensPerSecond: 5, resetsPerSecond: 4, controlFramesPerSecond: 100 };

function make() {
  const clock = new FakeClock();
  return { clock, budgets: new PeerBudgets(clock, LIMITS) };
}

/** How often `count` passes before it throws a PROTOCOL_ERROR. */
function untilFlood(count: () => void, most = 100_000): number {
  for (let times = 0; times < most; times += 1) {
    try {
      count();
    } catch (error) {
      assert.ok(isFairleadError(error, 'PROTOCOL_ERROR'));
      return times;
    }
  }
  return most;
}

test('a peer may open ten seconds of streams at once, then so many a second', () => {
  const { clock, budgets } = make();
  assert.equal(
    untilFlood(() => budgets.countOpen()),
    50,
  );
  clock.advance(1_000);
  assert.equal(
    untilFlood(() => budgets.countOpen()),
    5,
  );
});

test('streams that were real work do not count', () => {
  const { budgets } = make();
  for (let times = 0; times < 10_000; times += 1) {
    budgets.countOpen();
    budgets.refundOpen('peer');
  }
  assert.equal(
    untilFlood(() => budgets.countOpen()),
    50,
  );
});

test('a refund for an own stream does not help the peer', () => {
  const { budgets } = make();
  untilFlood(() => budgets.countOpen());
  for (let times = 0; times < 100; times += 1) budgets.refundOpen('self');
  assert.equal(
    untilFlood(() => budgets.countOpen()),
    0,
  );
});

test('a peer may send ten seconds of resets at once, then so many a second', () => {
  const { clock, budgets } = make();
  assert.equal(
    untilFlood(() => budgets.countReset()),
    40,
  );
  clock.advance(500);
  assert.equal(
    untilFlood(() => budgets.countReset()),
    2,
  );
});

test('control frames have a second of burst, and two more for each frame of this end', () => {
  const { clock, budgets } = make();
  assert.equal(
    untilFlood(() => budgets.countControl(0)),
    100,
  );
  assert.equal(
    untilFlood(() => budgets.countControl(10)),
    20,
  );
  assert.equal(
    untilFlood(() => budgets.countControl(10)),
    0,
    'a frame is counted once',
  );
  clock.advance(100);
  assert.equal(
    untilFlood(() => budgets.countControl(10)),
    10,
  );
});

test('this end opens no faster than the peer allows in the long run', () => {
  const { clock, budgets } = make();
  const opened = () => {
    let count = 0;
    while (budgets.takeOwnOpen()) count += 1;
    return count;
  };
  assert.equal(opened(), 5);
  clock.advance(1_000);
  assert.equal(opened(), 5);
  budgets.refundOpen('self');
  assert.equal(opened(), 1);
});

test('clean ends and answers by error are work; refusals and resets by the opener are not', () => {
  assert.equal(isPaidFor(undefined, false), true);
  assert.equal(isPaidFor(undefined, true), true);
  const free: ErrorCode[] = ['OVERLOADED', 'MESSAGE_INVALID', 'SHUTDOWN'];
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const error = new FairleadError(code, '');
    assert.equal(isPaidFor(error, false), !free.includes(code), code);
    assert.equal(isPaidFor(error, true), false, code);
  }
});
