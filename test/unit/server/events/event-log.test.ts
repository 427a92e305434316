/** One sequence of events: numbered, kept, followed at the reader's pace, and dropped from the oldest on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventLog } from '../../../../server/events/event-log.ts';
import { type Followed, followEvents } from '../../../../server/events/follow.ts';
import { EventMatcher, type EventQuery, isOfType } from '../../../../server/events/matcher.ts';
import { EventRetention } from '../../../../server/events/retention.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';
import { add, anEvent, LAB, type Opened, openEvents, openLog, SHOP } from './fixture.ts';

const SILENT = { error: () => undefined };

/** A reader that is told to go on step by step. */
function follower(cleanup: Cleanup, { eventLog, directory }: Opened, after: number, query: EventQuery = {}) {
  const leaving = new AbortController();
  defer(cleanup, () => leaving.abort(new FairleadError('CANCELLED', 'the test is over')));
  const matcher = new EventMatcher(query, directory);
  return followEvents({ log: eventLog, matcher, after, idleMs: 15_000, signal: leaving.signal });
}

const idsOf = ({ rows }: Followed) => rows.map(({ id }) => id);
const next = async (steps: AsyncGenerator<Followed>): Promise<Followed> => {
  const { value } = await steps.next();
  assert.ok(value);
  return value;
};
const typesIn = async (eventLog: EventLog, query: EventQuery, { directory }: Opened) =>
  (await eventLog.list({}, new EventMatcher(query, directory).filter)).items.map(({ id }) => id);

test('events are numbered without a hole, over a restart of the server, too', async (t) => {
  const { store, clock, eventLog } = await openEvents(t);
  assert.deepEqual([eventLog.first, eventLog.last], [1, 0]);
  await add(eventLog, anEvent('container.start'), anEvent('container.die'));
  const again = await openLog(store, clock);
  await add(again, anEvent('host.online'));
  assert.deepEqual([again.first, again.last], [1, 3]);
  const { rows } = await again.read(0, {});
  assert.deepEqual(
    rows.map(({ id, type }) => `${id} ${type}`),
    ['1 container.start', '2 container.die', '3 host.online'],
  );
  assert.deepEqual(rows[0], { id: 1, at: clock.now(), ...anEvent('container.start') });
});

test('a reader gets what was, then what comes, and is told when nothing does', async (t) => {
  const opened = await openEvents(t);
  const { eventLog, clock } = opened;
  await add(eventLog, anEvent('container.start'), anEvent('container.die'));
  const steps = follower(t, opened, 1);
  assert.deepEqual(idsOf(await next(steps)), [2]);
  const waiting = steps.next();
  await add(eventLog, anEvent('container.start'));
  assert.deepEqual(idsOf((await waiting).value), [3]);
  const idle = steps.next();
  await new Promise(setImmediate);
  clock.advance(15_000);
  assert.deepEqual((await idle).value, { rows: [], upTo: 3 });
});

test('a reader far behind what is in memory reads the store, and misses nothing', async (t) => {
  const opened = await openEvents(t);
  for (let i = 0; i < 5; i++) {
    await add(opened.eventLog, ...Array.from({ length: 600 }, () => anEvent('container.start')));
  }
  const ids: number[] = [];
  for await (const step of follower(t, opened, 0)) {
    ids.push(...idsOf(step));
    if (step.upTo === 3000) break;
  }
  assert.deepEqual(
    ids,
    Array.from({ length: 3000 }, (_, index) => index + 1),
  );
});

test('readers see what fits: types, hosts, tags and scope', async (t) => {
  const opened = await openEvents(t);
  const { eventLog } = opened;
  const events = ['container.start', 'container.exec_start', 'network.connect', 'events.gap'];
  await add(eventLog, ...events.map((type) => anEvent(type)), ...events.map((type) => anEvent(type, SHOP)));
  const both = async (query: EventQuery, expected: number[]) => {
    assert.deepEqual(idsOf(await next(follower(t, opened, 0, query))), expected, JSON.stringify(query));
    assert.deepEqual(
      (await typesIn(eventLog, query, opened)).toReversed(),
      expected,
      `listed: ${JSON.stringify(query)}`,
    );
  };
  await both({}, [1, 2, 3, 4, 5, 6, 7, 8]);
  await both({ types: ['container'] }, [1, 2, 4, 5, 6, 8]);
  await both({ types: ['container.exec*', 'network.connect'] }, [2, 3, 4, 6, 7, 8]);
  await both({ hosts: [SHOP] }, [5, 6, 7, 8]);
  await both({ tags: ['lab', 'none'] }, [1, 2, 3, 4]);
  await both({ scope: { hosts: [SHOP], tags: [] }, types: ['network'] }, [7, 8]);
  await both({ scope: { hosts: [], tags: ['shop'] }, hosts: [LAB, SHOP] }, [5, 6, 7, 8]);
  assert.deepEqual(await typesIn(eventLog, { scope: { hosts: [], tags: ['none'] } }, opened), []);
  assert.ok(isOfType('container.start', '*') && !isOfType('containers.x', 'container') && !isOfType('a', 'b*'));
});

test('what a scope takes in follows the tags as they are now', async (t) => {
  const opened = await openEvents(t);
  const { eventLog, retag } = opened;
  const steps = follower(t, opened, 0, { scope: { hosts: [], tags: ['lab'] } });
  await add(eventLog, anEvent('container.start'), anEvent('container.start', SHOP));
  assert.deepEqual(idsOf(await next(steps)), [1]);
  await retag(LAB, ['away']);
  await retag(SHOP, ['lab']);
  const after = steps.next();
  await add(eventLog, anEvent('container.die'), anEvent('container.die', SHOP));
  assert.deepEqual(idsOf((await after).value), [4]);
  assert.deepEqual(await typesIn(eventLog, { tags: ['lab'] }, opened), [4, 2]);
});

test('a host that was removed is in the scope that names it, and in no tag', async (t) => {
  const opened = await openEvents(t);
  await add(opened.eventLog, anEvent('host.removed'));
  await opened.store.hosts.delete(LAB);
  await opened.retag(SHOP, ['lab']);
  assert.deepEqual(idsOf(await next(follower(t, opened, 0, { scope: { hosts: [LAB], tags: [] } }))), [1]);
  assert.deepEqual(await typesIn(opened.eventLog, { scope: { hosts: [], tags: ['lab'] } }, opened), []);
});

test('since and until are about when it happened', async (t) => {
  const opened = await openEvents(t);
  await add(opened.eventLog, ...[1, 2, 3].map((second) => anEvent('container.start', LAB, second * 1e6)));
  assert.deepEqual(await typesIn(opened.eventLog, { sinceMicros: 2e6 }, opened), [3, 2]);
  assert.deepEqual(await typesIn(opened.eventLog, { untilMicros: 2e6 }, opened), [1]);
  assert.deepEqual(idsOf(await next(follower(t, opened, 0, { sinceMicros: 3e6 }))), [3]);
});

test('events that are large together go sooner', async (t) => {
  const opened = await openEvents(t);
  const { store, clock, eventLog } = opened;
  const options = { store, eventLog, clock, log: SILENT, keepMs: undefined, maxEvents: 40_000 };
  const retention = new EventRetention(options);
  t.after(() => retention.close());
  const large = { ...anEvent('container.start'), attributes: JSON.stringify({ a: '\u00e9'.repeat(12_000) }) };
  await add(eventLog, ...Array.from({ length: 750 }, () => large));
  await retention.pass();
  assert.equal(eventLog.first, 1, 'some 18 MB of 20');
  await add(eventLog, ...Array.from({ length: 350 }, () => large));
  await retention.pass();
  assert.deepEqual([eventLog.first, eventLog.last], [251, 1_100]);
  const anew = new EventRetention({ ...options, maxEvents: 1_000 });
  t.after(() => anew.close());
  await anew.pass();
  assert.ok(eventLog.first > 251 && eventLog.last - eventLog.first > 500, 'what was there before counts');
});

test('old events go, and too many; whoever stood there is told what is missing', async (t) => {
  const opened = await openEvents(t);
  const { store, clock, eventLog } = opened;
  const day = 86_400_000;
  const policy = { keepMs: 2 * day, maxEvents: 4 };
  const retention = new EventRetention({ store, eventLog, clock, log: SILENT, ...policy });
  t.after(() => retention.close());
  await add(eventLog, anEvent('container.start'), anEvent('container.die'));
  clock.advance(day);
  await add(eventLog, anEvent('container.start'));
  await retention.pass();
  assert.equal(eventLog.first, 1);
  clock.advance(day + 1);
  // The one that began as the time passed, and one after it.
  await retention.pass();
  await retention.pass();
  assert.equal(eventLog.first, 3, 'by age');
  await add(eventLog, ...Array.from({ length: 5 }, () => anEvent('container.start')));
  await retention.pass();
  assert.deepEqual([eventLog.first, eventLog.last], [5, 8], 'by number');
  const steps = follower(t, opened, 2);
  assert.deepEqual(await next(steps), { rows: [], missing: { reason: 'retention', from: 3, to: 4 }, upTo: 4 });
  assert.deepEqual(idsOf(await next(steps)), [5, 6, 7, 8]);
  clock.advance(10 * day);
  await retention.pass();
  await retention.pass();
  assert.deepEqual([eventLog.first, eventLog.last], [8, 8], 'the last one stays: the next number follows from it');
});

test('a place beyond the end is one of a log of before', async (t) => {
  const opened = await openEvents(t);
  await add(opened.eventLog, anEvent('container.start'));
  const steps = follower(t, opened, 70);
  assert.deepEqual(await next(steps), { rows: [], missing: { reason: 'rewound', from: 2, to: 70 }, upTo: 1 });
  const waiting = steps.next();
  await add(opened.eventLog, anEvent('container.die'));
  assert.deepEqual(idsOf((await waiting).value), [2]);
});

test('pages go on where the one before ended, newest first', async (t) => {
  const opened = await openEvents(t);
  const { eventLog } = opened;
  await add(eventLog, ...Array.from({ length: 5 }, () => anEvent('container.start')));
  const ids: number[] = [];
  let cursor: string | undefined;
  do {
    const page = await eventLog.list({ limit: 2, ...(cursor === undefined ? {} : { cursor }) }, {});
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  assert.deepEqual(ids, [5, 4, 3, 2, 1]);
});

test('too many at once are refused as a whole', async (t) => {
  const { eventLog } = await openEvents(t);
  const added = eventLog.add(Array.from({ length: 15_000 }, () => anEvent('container.start')));
  await assert.rejects(eventLog.add(Array.from({ length: 15_000 }, () => anEvent('container.start'))), {
    code: 'OVERLOADED',
  });
  await eventLog.drain();
  assert.ok((await added).every(({ status }) => status === 'fulfilled'));
  assert.equal(eventLog.last, 15_000);
});
