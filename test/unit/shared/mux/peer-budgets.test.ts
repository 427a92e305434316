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
    untilFlood(() => budgets.countOpen(0)),
    50,
  );
  clock.advance(1_000);
  assert.equal(
    untilFlood(() => budgets.countOpen(0)),
    5,
  );
});

test('streams that were real work do not count', () => {
  const { budgets } = make();
  for (let times = 0; times < 10_000; times += 1) {
    budgets.countOpen(0);
    budgets.refundOpen('peer');
  }
  assert.equal(
    untilFlood(() => budgets.countOpen(0)),
    50,
  );
});

test('a refund for an own stream does not help the peer', () => {
  const { budgets } = make();
  untilFlood(() => budgets.countOpen(0));
  for (let times = 0; times < 100; times += 1) budgets.refundOpen('self');
  assert.equal(
    untilFlood(() => budgets.countOpen(0)),
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

test('control frames have a second of burst, and two more for each OPEN and each 4 KiB of this end', () => {
  const { clock, budgets } = make();
  assert.equal(
    untilFlood(() => budgets.countControl(0, 0)),
    100,
  );
  assert.equal(
    untilFlood(() => budgets.countControl(3, 7 * 4096)),
    20,
  );
  assert.equal(
    untilFlood(() => budgets.countControl(3, 8 * 4096 - 1)),
    0,
    'what was sent counts once, and only in whole units',
  );
  clock.advance(100);
  assert.equal(
    untilFlood(() => budgets.countControl(3, 8 * 4096 - 1)),
    10,
  );
});

test('a peer earns nothing by making this end send many frames with little in them', () => {
  const { budgets } = make();
  let frames = 0;
  // Each of the peer's grants of one byte is answered by a frame of eleven.
  assert.equal(
    untilFlood(() => {
      budgets.countControl(0, 11 * frames);
      frames += 1;
    }),
    100,
  );
});

test('parameters count by their size, and keep counting when the stream was real work', () => {
  const { budgets } = make();
  assert.equal(
    untilFlood(() => budgets.countOpen(4 * 4096)),
    10,
  );
  const own = make().budgets;
  assert.equal(own.takeOwnOpen(3 * 4096 + 1), true);
  own.refundOpen('self');
  assert.equal(own.takeOwnOpen(0), true);
  assert.equal(own.takeOwnOpen(0), true, 'one of five came back');
  assert.equal(own.takeOwnOpen(0), false);
});

test('this end opens no faster than the peer allows in the long run', () => {
  const { clock, budgets } = make();
  const opened = () => {
    let count = 0;
    while (budgets.takeOwnOpen(0)) count += 1;
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
  const free: ErrorCode[] = ['OVERLOADED', 'MESSAGE_INVALID', 'SHUTDOWN', 'UNSUPPORTED', 'DENIED_BY_HOST'];
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const error = new FairleadError(code, '');
    assert.equal(isPaidFor(error, false), !free.includes(code), code);
    assert.equal(isPaidFor(error, true), false, code);
  }
});
