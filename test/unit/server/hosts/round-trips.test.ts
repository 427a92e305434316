/** Pings in a row: their pace, what is lost, what ends them, and what they come to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { RoundTrips, roundTrips } from '../../../../server/hosts/round-trips.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const NEVER = new AbortController().signal;
const timeout = () => new FairleadError('TIMEOUT', 'no pong');

/** Answers each ping after so many ms of the clock; undefined: not within its time. */
function pinged(clock: FakeClock, answers: (number | undefined | FairleadError)[]) {
  const sentAt: number[] = [];
  return {
    sentAt,
    ping: async ({ timeoutMs = 0 } = {}) => {
      sentAt.push(clock.monotonic());
      const answer = answers.shift();
      if (answer instanceof FairleadError) throw answer;
      clock.advance(answer ?? timeoutMs);
      if (answer === undefined) throw timeout();
      return answer;
    },
  };
}

/** Collects, and lets the clock pass over each wait. */
async function collect(clock: FakeClock, trips: AsyncIterable<number | undefined>) {
  const found: (number | undefined)[] = [];
  let isOver = false;
  const reading = (async () => {
    try {
      for await (const ms of trips) found.push(ms);
    } finally {
      isOver = true;
    }
  })();
  reading.catch(() => undefined);
  while (!isOver) {
    await setImmediate();
    if (clock.pendingTimers > 0) clock.advance(10);
  }
  await reading;
  return found;
}

test('pings keep their pace, and wait for an answer that takes longer', async () => {
  const clock = new FakeClock();
  const link = pinged(clock, [40, 300, 40]);
  const plan = { count: 3, intervalMs: 200, timeoutMs: 1000 };
  assert.deepEqual(await collect(clock, roundTrips(link, plan, clock, NEVER)), [40, 300, 40]);
  assert.deepEqual(link.sentAt, [0, 200, 500]);
  assert.equal(clock.pendingTimers, 0, 'nobody waits after the last');
});

test('a ping without an answer is lost and the next one follows; anything else is the end', async () => {
  const clock = new FakeClock();
  const plan = { count: 3, intervalMs: 200, timeoutMs: 500 };
  const lost = pinged(clock, [40, undefined, 40]);
  assert.deepEqual(await collect(clock, roundTrips(lost, plan, clock, NEVER)), [40, undefined, 40]);
  const cut = pinged(clock, [40, new FairleadError('STREAM_INTERRUPTED', 'gone')]);
  await assert.rejects(collect(clock, roundTrips(cut, plan, clock, NEVER)), (error) =>
    isFairleadError(error, 'STREAM_INTERRUPTED'),
  );
});

test('the signal ends them at once: under way, and between two', async () => {
  const clock = new FakeClock();
  const leaving = new AbortController();
  const plan = { count: 3, intervalMs: 200, timeoutMs: 500 };
  const unanswered = { ping: () => new Promise<number>(() => undefined) };
  const waiting = roundTrips(unanswered, plan, clock, leaving.signal).next();
  const between = roundTrips(pinged(clock, [1, 1]), plan, clock, leaving.signal);
  assert.equal((await between.next()).value, 1);
  const next = between.next();
  await setImmediate();
  leaving.abort(new FairleadError('CANCELLED', 'enough'));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(next, /enough/);
  assert.equal(clock.pendingTimers, 0);
});

test('a summary has the least, the mean, the 99th of a hundred and the most', () => {
  const trips = new RoundTrips();
  assert.deepEqual(trips.summary, { sent: 0, received: 0, trips: undefined });
  for (let ms = 200; ms >= 1; ms--) trips.add(ms);
  trips.add(undefined);
  assert.deepEqual(trips.summary, {
    sent: 201,
    received: 200,
    trips: { minMs: 1, avgMs: 100.5, p99Ms: 198, maxMs: 200 },
  });
});
