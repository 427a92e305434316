import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  charge,
  creditLeft,
  newWindow,
  nextLimit,
  type ReceiveWindow,
  raiseLimit,
  receive,
  take,
  type WindowRules,
} from '../../../../shared/mux/flow.ts';

const MAX = Number.MAX_SAFE_INTEGER;
const RULES: WindowRules = { base: 1000, max: 8000, share: 100, maxOffset: MAX, roundTripMs: 100 };
const ROOM = 1_000_000;

const fresh = (size = 1000): ReceiveWindow => newWindow(size);

/** A window after so many bytes came and the application took some of them, all within a moment. */
function after(received: number, taken: number, size = 1000): ReceiveWindow {
  return { ...newWindow(size), limit: Math.max(size, received), received, taken, measuredAt: 0 };
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
  assert.equal(receive(window, 999, 0), true);
  assert.equal(receive(window, 2, 0), false);
  assert.equal(window.received, 999, 'what was refused is not counted');
  assert.equal(receive(window, 1, 0), true);
  assert.equal(receive(window, 0, 0), true);
  assert.equal(receive(window, 1, 0), false);
});

test('the check against the limit does not overflow', () => {
  const window = { ...fresh(MAX), received: MAX - 1 };
  assert.equal(receive(window, 2, 0), false);
  assert.equal(receive(window, MAX, 0), false);
  assert.equal(receive(window, 1, 0), true);
  assert.equal(window.received, MAX);
});

test('no new limit before half a window is free', () => {
  const window = fresh();
  receive(window, 1000, 0);
  take(window, 499);
  assert.equal(nextLimit(window, RULES, ROOM, 0), undefined);
  take(window, 1);
  assert.equal(typeof nextLimit(window, RULES, ROOM, 0), 'number');
});

test('the limit of a large window does not wait for half of it', () => {
  const mib = 1024 * 1024;
  const window = fresh(16 * mib);
  const rules = { ...RULES, base: 16 * mib, max: 16 * mib };
  receive(window, 16 * mib, 0);
  take(window, mib - 1);
  assert.equal(nextLimit(window, rules, 16 * mib, 0), undefined);
  take(window, 1);
  assert.equal(nextLimit(window, rules, 16 * mib, 0), 17 * mib);
});

test('what has arrived and was not taken earns nothing', () => {
  const window = fresh();
  receive(window, 1000, 0);
  assert.equal(nextLimit(window, RULES, ROOM, 0), undefined);
  assert.equal(window.size, 1000);
});

/** Uses up what was granted, so long after the last time, and takes it all. @returns the window that comes of it */
function useAll(window: ReceiveWindow, rules: WindowRules, now: number, room = ROOM): number {
  const bytes = window.limit - window.received;
  assert.ok(receive(window, bytes, now));
  take(window, bytes);
  const limit = nextLimit(window, rules, room, now);
  assert.ok(limit !== undefined);
  window.limit = limit;
  return limit - window.taken;
}

test('the window doubles while it is used up within a round trip, up to its maximum', () => {
  const window = fresh();
  const sizes = [0, 1, 2, 3, 4, 5].map((round) => useAll(window, RULES, round * 100));
  assert.deepEqual(sizes, [2000, 4000, 8000, 8000, 8000, 8000]);
});

test('the window stays while it is used more slowly than that', () => {
  const window = fresh();
  receive(window, 0, 0);
  // All of it, twice what counts: 2.5 round trips and a little more.
  const sizes = [1, 2, 3, 4].map((round) => useAll(window, RULES, round * 251));
  assert.deepEqual(sizes, [1000, 1000, 1000, 1000]);
});

test('nothing grows before a round trip is known', () => {
  const window = fresh();
  for (let round = 0; round < 5; round += 1) {
    assert.equal(useAll(window, { ...RULES, roundTripMs: undefined }, round), 1000);
  }
});

test('a link without delay has one millisecond of it', () => {
  const window = fresh();
  assert.equal(useAll(window, { ...RULES, roundTripMs: 0 }, 0), 2000);
  assert.equal(useAll(window, { ...RULES, roundTripMs: 0 }, 2.4), 4000);
  assert.equal(useAll(window, { ...RULES, roundTripMs: 0 }, 5), 4000);
});

test('a reader that always has some waiting does not make its window grow', () => {
  const window = fresh();
  receive(window, 1000, 0);
  for (let now = 1; now < 200; now += 1) {
    take(window, 100);
    window.limit = nextLimit(window, RULES, ROOM, now) ?? window.limit;
    assert.ok(receive(window, window.limit - window.received, now));
    assert.equal(window.size, 1000);
  }
});

test('a reader that pauses and then takes all at once does not make its window grow', () => {
  const window = fresh();
  for (let now = 0; now < 20_000; now += 2000) {
    // What was granted comes within a round trip of the reader's taking, and waits.
    assert.ok(receive(window, window.limit - window.received, now + 100));
    while (window.taken < window.received) {
      take(window, 100);
      window.limit = nextLimit(window, RULES, ROOM, now + 2000) ?? window.limit;
    }
    assert.equal(window.size, 1000);
  }
});

test('a window that grew falls back to its base once its reader is what limits', () => {
  const window = fresh(8000);
  for (let now = 0; now < 4000; now += 20) {
    // The sender uses up its limit at once, and the reader takes a little at a time.
    assert.ok(receive(window, window.limit - window.received, now));
    take(window, 100);
    window.limit = nextLimit(window, RULES, ROOM, now) ?? window.limit;
  }
  assert.ok(window.received - window.taken <= RULES.base, `${window.received - window.taken} bytes pile up unread`);
});

test('a window that is hardly used any more falls back to its base', () => {
  const window = fresh(8000);
  for (let now = 0; now < 20_000; now += 10) {
    if (window.received < window.limit) assert.ok(receive(window, 1, now));
    take(window, window.received - window.taken);
    window.limit = nextLimit(window, RULES, ROOM, now) ?? window.limit;
  }
  assert.ok(window.size <= RULES.base, `a window of ${window.size} bytes`);
  // Half of the first window has to be used up before anything changes for the peer, and then nothing is granted.
  assert.equal(window.limit - window.taken, 8000 - 2000);
});

test('a window that was used up within a moment stays large in spite of a pause', () => {
  const window = fresh(8000);
  useAll(window, RULES, 0);
  assert.equal(useAll(window, RULES, 60_000), 8000);
});

interface Path {
  /** Bytes per ms. */
  readonly rate: number;
  readonly roundTripMs: number;
  /** What the reader takes, in bytes per ms. */
  readonly reader: number;
}

/** A sender that always has more to send, a link and a reader, by the millisecond. @returns bytes taken in each second */
function run(window: ReceiveWindow, { rate, roundTripMs, reader }: Path, max: number, seconds: number): number[] {
  const delay = roundTripMs / 2;
  const rules: WindowRules = { base: 256 * 1024, max, share: 64 * 1024, maxOffset: MAX, roundTripMs };
  const granted = [{ at: 0, limit: window.limit }];
  const onTheWay: { at: number; bytes: number }[] = [];
  const perSecond: number[] = [];
  let limit = 0;
  let sent = 0;
  for (let now = 0; now < seconds * 1000; now += 1) {
    while (granted[0] !== undefined && granted[0].at <= now) limit = granted.shift()?.limit ?? limit;
    const bytes = Math.min(rate, limit - sent);
    sent += bytes;
    if (bytes > 0) onTheWay.push({ at: now + delay, bytes });
    while (onTheWay[0] !== undefined && onTheWay[0].at <= now) {
      assert.ok(receive(window, onTheWay.shift()?.bytes ?? 0, now));
    }
    take(window, Math.min(reader, window.received - window.taken));
    const next = nextLimit(window, rules, 32 * 1024 * 1024, now);
    if (next !== undefined) granted.push({ at: now + delay, limit: next });
    window.limit = next ?? window.limit;
    const second = Math.floor(now / 1000);
    perSecond[second] = window.taken - perSecond.slice(0, second).reduce((sum, part) => sum + part, 0);
  }
  return perSecond;
}

const MIB = 1024 * 1024;
const MBIT = 125;
const FAST = Number.POSITIVE_INFINITY;

test('one stream fills a link of 100 Mbit/s and 100 ms within a second', () => {
  const window = fresh(256 * 1024);
  const [, second = 0] = run(window, { rate: 100 * MBIT, roundTripMs: 100, reader: FAST }, 16 * MIB, 2);
  assert.ok(second > 0.98 * 100_000 * MBIT, `${second} bytes in the second second`);
  assert.equal(window.size, 4 * MIB);
});

test('one stream fills a link of 1 Gbit/s and 100 ms', () => {
  const window = fresh(256 * 1024);
  const perSecond = run(window, { rate: 1000 * MBIT, roundTripMs: 100, reader: FAST }, 16 * MIB, 3);
  assert.ok((perSecond[2] ?? 0) > 0.98 * 1_000_000 * MBIT, `${perSecond} bytes`);
});

test('a slow or a short link needs no more than the base', () => {
  for (const [mbit, roundTripMs] of [
    [2, 300],
    [20, 40],
    [100, 5],
    [1000, 0.5],
  ] as const) {
    const window = fresh(256 * 1024);
    const perSecond = run(window, { rate: mbit * MBIT, roundTripMs, reader: FAST }, 16 * MIB, 3);
    assert.ok(window.size <= 512 * 1024, `${mbit} Mbit/s and ${roundTripMs} ms: ${window.size} bytes`);
    assert.ok((perSecond[2] ?? 0) > 0.98 * mbit * 1000 * MBIT);
  }
});

test('a reader slower than the link has a window for its own rate, and no more', () => {
  const window = fresh(256 * 1024);
  const perSecond = run(window, { rate: 1000 * MBIT, roundTripMs: 100, reader: 10 * MBIT }, 16 * MIB, 10);
  assert.ok(window.size <= 512 * 1024, `${window.size} bytes`);
  assert.ok((perSecond[9] ?? 0) > 0.98 * 10_000 * MBIT, 'and is kept busy');
});

test('a window that grew for a fast reader shrinks when that becomes slow', () => {
  const window = fresh(256 * 1024);
  run(window, { rate: 100 * MBIT, roundTripMs: 100, reader: FAST }, 16 * MIB, 2);
  assert.equal(window.size, 4 * MIB);
  const slow = { ...window, limit: window.limit - window.taken, received: window.received - window.taken, taken: 0 };
  Object.assign(slow, { measuredAt: 0, measuredFrom: slow.received, behindSince: undefined });
  run(slow, { rate: 100 * MBIT, roundTripMs: 100, reader: MBIT }, 16 * MIB, 120);
  assert.ok(slow.received - slow.taken <= 256 * 1024, `${slow.received - slow.taken} bytes wait`);
});

test('an empty budget leaves a stream its share and no more', () => {
  const window = after(1000, 1000);
  assert.equal(nextLimit(window, RULES, 0, 0), 1100);
  const negative = after(1000, 1000);
  assert.equal(nextLimit(negative, RULES, -5_000_000, 0), 1100);
});

test('a budget that is nearly used up is given to its last byte', () => {
  const window = after(1000, 1000);
  assert.equal(nextLimit(window, RULES, 700, 0), 1800, 'its share counts as its own');
  const half = after(1000, 700);
  assert.equal(half.limit - half.taken, 300);
  assert.equal(nextLimit(half, RULES, 300, 0), 1300, 'what is outstanding already counts as its own');
  assert.equal(nextLimit(after(1000, 700), RULES, 299, 0), undefined, 'half of the smaller window is not free');
});

test('a limit never falls, even when the budget or the window shrank', () => {
  const window = { ...fresh(16_000), limit: 9000, received: 5000, taken: 5000 };
  assert.equal(nextLimit(window, { ...RULES, max: 1000 }, -1, 0), undefined);
  assert.equal(window.limit, 9000);
});

test('limits reach the highest offset and stop there', () => {
  const window = { ...fresh(), limit: MAX - 10, received: MAX - 10, taken: MAX - 10 };
  assert.equal(nextLimit(window, RULES, ROOM, 0), MAX);
  window.limit = MAX;
  assert.ok(receive(window, 10, 0));
  take(window, 10);
  assert.equal(window.taken, MAX);
  assert.equal(nextLimit(window, RULES, ROOM, 0), undefined);
  assert.equal(receive(window, 1, 0), false);
});

test('a lower highest offset is kept to', () => {
  const window = after(1000, 1000);
  assert.equal(nextLimit(window, { ...RULES, maxOffset: 1500 }, ROOM, 0), 1500);
  const used = { ...fresh(), limit: 1500, received: 1500, taken: 1500 };
  assert.equal(nextLimit(used, { ...RULES, maxOffset: 1500 }, ROOM, 0), undefined);
});

test('a reader that takes everything never stalls its sender, whatever it takes at once', () => {
  for (const step of [1, 7, 250, 999, 1000, 5000]) {
    for (const room of [0, 50, ROOM]) {
      const window = fresh();
      let total = 0;
      for (let round = 0; round < 5000 && total < 20_000; round += 1) {
        const bytes = Math.min(step, window.limit - window.received);
        assert.ok(bytes > 0, `step ${step}, room ${room}: no credit at ${total}`);
        assert.ok(receive(window, bytes, 0));
        take(window, bytes);
        total += bytes;
        const before = window.limit;
        window.limit = nextLimit(window, RULES, room, 0) ?? before;
        assert.ok(window.limit >= before);
      }
    }
  }
});

test('a window counts for what was granted and not taken, and for its share at least', () => {
  const window = fresh();
  assert.equal(charge(window, 100), 1000);
  receive(window, 950, 0);
  assert.equal(charge(window, 100), 1000);
  take(window, 950);
  assert.equal(charge(window, 100), 100);
  // What is given back to it when there is no room never counts for more than it did.
  window.limit = nextLimit(window, RULES, 0, 0) ?? 0;
  assert.equal(charge(window, 100), 100);
});
