import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  creditLeft,
  nextLimit,
  type ReceiveWindow,
  raiseLimit,
  receive,
  take,
  type WindowRules,
} from '../../../../shared/mux/flow.ts';

const MAX = Number.MAX_SAFE_INTEGER;
const RULES: WindowRules = { base: 1000, max: 8000, share: 100, maxOffset: MAX };
const ROOM = 1_000_000;

const fresh = (size = 1000): ReceiveWindow => ({ limit: size, received: 0, taken: 0, size });

/** A window after so many bytes came and the application took some of them. */
function after(received: number, taken: number, size = 1000): ReceiveWindow {
  return { limit: Math.max(size, received), received, taken, size };
}

test('a limit from the peer rises or stays, and never falls', () => {
  const credit = { limit: 100, sent: 40 };
  assert.equal(creditLeft(credit), 60);
  assert.equal(raiseLimit(credit, 100), true);
  assert.equal(raiseLimit(credit, 101), true);
  assert.equal(creditLeft(credit), 61);
  assert.equal(raiseLimit(credit, 100), false);
  assert.equal(raiseLimit(credit, 0), false);
  assert.equal(credit.limit, 101);
});

test('a limit may rise to the highest offset there is', () => {
  const credit = { limit: 0, sent: 0 };
  assert.equal(raiseLimit(credit, MAX), true);
  credit.sent = MAX - 1;
  assert.equal(creditLeft(credit), 1);
  credit.sent = MAX;
  assert.equal(creditLeft(credit), 0);
  assert.equal(raiseLimit(credit, MAX), true);
  assert.equal(creditLeft(credit), 0);
});

test('bytes come in up to the limit and not one beyond', () => {
  const window = fresh();
  assert.equal(receive(window, 999), true);
  assert.equal(receive(window, 2), false);
  assert.equal(window.received, 999, 'what was refused is not counted');
  assert.equal(receive(window, 1), true);
  assert.equal(receive(window, 0), true);
  assert.equal(receive(window, 1), false);
});

test('the check against the limit does not overflow', () => {
  const window: ReceiveWindow = { limit: MAX, received: MAX - 1, taken: 0, size: MAX };
  assert.equal(receive(window, 2), false);
  assert.equal(receive(window, MAX), false);
  assert.equal(receive(window, 1), true);
  assert.equal(window.received, MAX);
});

test('no new limit before half a window is free', () => {
  const window = fresh();
  receive(window, 1000);
  take(window, 499);
  assert.equal(nextLimit(window, RULES, ROOM), undefined);
  take(window, 1);
  assert.equal(typeof nextLimit(window, RULES, ROOM), 'number');
});

test('what has arrived and was not taken earns nothing', () => {
  const window = fresh();
  receive(window, 1000);
  assert.equal(nextLimit(window, RULES, ROOM), undefined);
  assert.equal(window.size, 1000);
});

test('the window doubles while the reader has taken everything, up to its maximum', () => {
  const window = fresh();
  const sizes: number[] = [];
  for (let round = 0; round < 6; round += 1) {
    const bytes = window.limit - window.received;
    assert.ok(receive(window, bytes));
    take(window, bytes);
    const limit = nextLimit(window, RULES, ROOM);
    assert.ok(limit !== undefined);
    sizes.push(limit - window.taken);
    window.limit = limit;
  }
  assert.deepEqual(sizes, [2000, 4000, 8000, 8000, 8000, 8000]);
});

test('the window stays while some, but not much, is unread', () => {
  const window = { limit: 4000, received: 4000, taken: 2000, size: 4000 };
  assert.equal(nextLimit(window, RULES, ROOM), 6000);
  assert.equal(window.size, 4000);
});

test('a window that grew falls back to its base once its reader is what limits', () => {
  const window: ReceiveWindow = { limit: 8000, received: 0, taken: 0, size: 8000 };
  for (let round = 0; round < 200; round += 1) {
    // The sender uses up its limit at once, and the reader takes a little at a time.
    assert.ok(receive(window, window.limit - window.received));
    take(window, 100);
    window.limit = nextLimit(window, RULES, ROOM) ?? window.limit;
  }
  assert.ok(window.received - window.taken <= RULES.base, `${window.received - window.taken} bytes pile up unread`);
});

test('an empty budget leaves a stream its share and no more', () => {
  const window = after(1000, 1000);
  assert.equal(nextLimit(window, RULES, 0), 1100);
  const negative = after(1000, 1000);
  assert.equal(nextLimit(negative, RULES, -5_000_000), 1100);
});

test('a budget that is nearly used up is given to its last byte', () => {
  const window = after(1000, 1000);
  assert.equal(nextLimit(window, RULES, 700), 1700);
  const half = after(1000, 700);
  assert.equal(half.limit - half.taken, 300);
  assert.equal(nextLimit(half, RULES, 300), 1300, 'what is outstanding already counts as its own');
  assert.equal(nextLimit(after(1000, 700), RULES, 299), undefined, 'half of the smaller window is not free');
});

test('a limit never falls, even when the budget or the window shrank', () => {
  const window: ReceiveWindow = { limit: 9000, received: 5000, taken: 5000, size: 16_000 };
  assert.equal(nextLimit(window, { ...RULES, max: 1000 }, -1), undefined);
  assert.equal(window.limit, 9000);
});

test('limits reach the highest offset and stop there', () => {
  const window: ReceiveWindow = { limit: MAX - 10, received: MAX - 10, taken: MAX - 10, size: 1000 };
  assert.equal(nextLimit(window, RULES, ROOM), MAX);
  window.limit = MAX;
  assert.ok(receive(window, 10));
  take(window, 10);
  assert.equal(window.taken, MAX);
  assert.equal(nextLimit(window, RULES, ROOM), undefined);
  assert.equal(receive(window, 1), false);
});

test('a lower highest offset is kept to', () => {
  const window = after(1000, 1000);
  assert.equal(nextLimit(window, { ...RULES, maxOffset: 1500 }, ROOM), 1500);
  const used = { limit: 1500, received: 1500, taken: 1500, size: 1000 };
  assert.equal(nextLimit(used, { ...RULES, maxOffset: 1500 }, ROOM), undefined);
});

test('a reader that takes everything never stalls its sender, whatever it takes at once', () => {
  for (const step of [1, 7, 250, 999, 1000, 5000]) {
    for (const room of [0, 50, ROOM]) {
      const window = fresh();
      let total = 0;
      for (let round = 0; round < 5000 && total < 20_000; round += 1) {
        const bytes = Math.min(step, window.limit - window.received);
        assert.ok(bytes > 0, `step ${step}, room ${room}: no credit at ${total}`);
        assert.ok(receive(window, bytes));
        take(window, bytes);
        total += bytes;
        const before = window.limit;
        window.limit = nextLimit(window, RULES, room) ?? before;
        assert.ok(window.limit >= before);
      }
    }
  }
});
