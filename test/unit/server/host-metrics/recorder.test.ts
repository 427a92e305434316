/** Samples from their coming to their end: written, averaged, kept for their time, dropped, on a real store. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readHistory } from '../../../../server/host-metrics/history.ts';
import { Recorder } from '../../../../server/host-metrics/recorder.ts';
import { SERIES } from '../../../../server/host-metrics/series.ts';
import { COARSE_STEP, FINE_STEP, type Plan } from '../../../../server/host-metrics/steps.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { HostSample } from '../../../../shared/messages/metrics.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer, tempDir } from '../../../support/tmp.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';

const [A, B] = HOST_IDS;
const START = Date.UTC(2030, 0, 1);
const DAY = 86_400;
const FROM = START / 1000;
const KEPT = { samples: 2 * COARSE_STEP, fine: 4 * COARSE_STEP, coarse: 8 * COARSE_STEP };
const NEVER = new AbortController().signal;
const PERCENT = SERIES.findIndex(({ group, field }) => group === 'cpu' && field === 'percent');
const SWAP = SERIES.findIndex(({ group, field }) => group === 'swap' && field === 'usedBytes');

function sample(percent: number, more: Partial<HostSample> = {}): HostSample {
  const cpu = { percent, user: 0, system: 0, iowait: 0, steal: 0, cores: [percent] };
  return { at: 1, uptimeSeconds: 5, cpu, ...more };
}

async function made(t: TestContext, hosts: readonly string[] = [A]) {
  const clock = new FakeClock(START);
  const store = await openStore({ dataDir: join(await tempDir(t, 'metrics'), 'data'), clock });
  defer(t, () => store.close());
  for (const id of hosts) await store.hosts.insert(aHost(id, id.slice(0, 4)));
  const log: unknown[] = [];
  const open = () => {
    const rows = store.hostMetrics;
    const note = (line: unknown) => void log.push(line);
    const recorder = new Recorder({ rows, clock, kept: KEPT, log: { warn: note, error: note } });
    defer(t, () => recorder.close());
    return recorder;
  };
  return { clock, store, log, open };
}

/** One sample every 30 s for so long; after each the work that is due is done. */
async function run(recorder: Recorder, clock: FakeClock, seconds: number, percentAt: (second: number) => number) {
  for (let second = 0; second < seconds; second += 30) {
    recorder.add(A, sample(percentAt(second)));
    clock.advance(30_000);
    await settle(recorder);
  }
}

/** What began while the clock went on knows an earlier time. */
async function settle(recorder: Recorder): Promise<void> {
  await recorder.work();
  await recorder.work();
}

const plan = (from: number, to: number, step: number, rows: Plan['rows']): Plan => ({ from, to, step, rows });

/** Average, least and most in per cent, by when, in seconds from the start. */
async function history(store: Store, recorder: Recorder, asked: Plan, host: string = A) {
  const points = await readHistory(store.hostMetrics, host, asked, () => recorder.waiting(host), NEVER);
  return [...points]
    .sort(([a], [b]) => a - b)
    .map(([at, { samples, series }]) => {
      const { count = 0, sum = 0, min = 0, max = 0 } = series[PERCENT] ?? {};
      return [at - FROM, samples, sum / count / 100, min / 100, max / 100];
    });
}

async function rowTimes(store: Store, step: number): Promise<number[]> {
  const ref = (await store.hostMetrics.host(A))?.ref ?? -1;
  return (await store.hostMetrics.read(ref, step, 0, Number.MAX_SAFE_INTEGER, 1000)).map(({ at }) => at - FROM);
}

test('samples are there from the moment they come, before and after they are written', async (t) => {
  const { clock, store, open } = await made(t);
  const recorder = open();
  await run(recorder, clock, 270, (second) => second / 30);
  assert.deepEqual(await rowTimes(store, 0), []);
  const fine = plan(FROM, FROM + 600, 60, 0);
  const before = await history(store, recorder, fine);
  assert.deepEqual(before[0], [0, 2, 0.5, 0, 1]);
  await run(recorder, clock, 60, () => 50);
  assert.deepEqual(await rowTimes(store, 0), [0]);
  assert.deepEqual(recorder.waiting(A).length, 1);
  const after = await history(store, recorder, fine);
  assert.deepEqual(after.slice(0, 4), before.slice(0, 4));
  assert.deepEqual(after.at(-1), [300, 1, 50, 50, 50]);
  assert.deepEqual(await history(store, recorder, plan(FROM, FROM + 600, 300, FINE_STEP)), [
    [0, 10, (36 + 50) / 10, 0, 50],
    [300, 1, 50, 50, 50],
  ]);
});

test('what is written while a history is read is in it once', async (t) => {
  const { clock, store, open } = await made(t);
  const recorder = open();
  await run(recorder, clock, 270, () => 10);
  let reads = 0;
  const host: typeof store.hostMetrics.host = async (hostId) => {
    const found = await store.hostMetrics.host(hostId);
    reads += 1;
    if (reads === 1) {
      clock.advance(30_000);
      await settle(recorder);
    }
    return found;
  };
  const asked = plan(FROM, FROM + 600, 300, FINE_STEP);
  const rows = { ...store.hostMetrics, host };
  const points = await readHistory(rows, A, asked, () => recorder.waiting(A), NEVER);
  assert.deepEqual(
    [...points].map(([at, { samples }]) => [at - FROM, samples]),
    [[0, 9]],
  );
  assert.equal(reads, 2);
});

test('all steps say the same of the same time, and what is not kept any more is dropped', async (t) => {
  const { clock, store, open } = await made(t);
  const recorder = open();
  await run(recorder, clock, 3 * COARSE_STEP, (second) => (second / 30) % 100);
  const from = FROM + COARSE_STEP;
  const to = FROM + 2 * COARSE_STEP;
  const [bySamples] = await history(store, recorder, plan(from, to, COARSE_STEP, 0));
  const [byFine] = await history(store, recorder, plan(from, to, COARSE_STEP, FINE_STEP));
  const [byCoarse] = await history(store, recorder, plan(from, to, COARSE_STEP, COARSE_STEP));
  assert.equal(bySamples?.[1], 120);
  assert.deepEqual(byFine, bySamples);
  assert.deepEqual(byCoarse, bySamples);
  assert.deepEqual(await rowTimes(store, COARSE_STEP), [0, COARSE_STEP, 2 * COARSE_STEP]);
  assert.equal((await rowTimes(store, 0))[0], COARSE_STEP);
  await run(recorder, clock, 7 * COARSE_STEP, () => 1);
  assert.equal((await rowTimes(store, 0))[0], 8 * COARSE_STEP);
  assert.equal((await rowTimes(store, FINE_STEP))[0], 6 * COARSE_STEP);
  assert.deepEqual((await rowTimes(store, COARSE_STEP))[0], 2 * COARSE_STEP);
});

test('a time without samples is a gap in every step, and a figure that was not told is none', async (t) => {
  const { clock, store, open } = await made(t);
  const recorder = open();
  await run(recorder, clock, 300, () => 10);
  clock.advance(2 * COARSE_STEP * 1000);
  await settle(recorder);
  await run(recorder, clock, 300, () => 20);
  const until = FROM + 3 * COARSE_STEP;
  const times = async (step: number, rows: Plan['rows']) =>
    (await history(store, recorder, plan(FROM, until, step, rows))).map(([at]) => at);
  assert.deepEqual(await times(FINE_STEP, FINE_STEP), [0, 300 + 2 * COARSE_STEP]);
  assert.deepEqual(await times(COARSE_STEP, COARSE_STEP), [0, 2 * COARSE_STEP]);
  const points = await readHistory(store.hostMetrics, A, plan(FROM, until, 300, 300), () => [], NEVER);
  assert.equal(points.get(FROM)?.series[SWAP], undefined);
});

test('five minutes that a restart cut in two are one', async (t) => {
  const { clock, store, open } = await made(t);
  const first = open();
  await run(first, clock, 120, () => 10);
  await first.close();
  assert.deepEqual(await rowTimes(store, 0), [0]);
  const second = open();
  await run(second, clock, 210, () => 20);
  assert.deepEqual(await history(store, second, plan(FROM, FROM + 300, 300, FINE_STEP)), [[0, 10, 16, 10, 20]]);
  assert.deepEqual((await history(store, second, plan(FROM, FROM + 300, 60, 0))).length, 5);
});

test("the server's clock rules, also when it is set back", async (t) => {
  const { clock, store, open } = await made(t);
  const recorder = open();
  recorder.add(A, sample(10, { at: 5 }));
  clock.setWallClock(START - 600_000);
  recorder.add(A, sample(20, { at: Number.MAX_SAFE_INTEGER }));
  clock.advance(600_000);
  await settle(recorder);
  assert.deepEqual(await rowTimes(store, 0), [-600, 0]);
  assert.equal(recorder.latest(A)?.sample.cpu?.percent, 20);
});

test('the rows of a host go with it, what is on its way included, and no other rows', async (t) => {
  const { clock, store, open } = await made(t, [A, B]);
  const recorder = open();
  await run(recorder, clock, 2 * COARSE_STEP, () => 10);
  recorder.add(B, sample(7));
  recorder.add(A, sample(7));
  await store.hosts.delete(A);
  recorder.forget(A);
  recorder.add(A, sample(8));
  clock.advance(300_000);
  await settle(recorder);
  const { n } = await store.db
    .selectFrom('host_metrics')
    .select((e) => e.fn.countAll<number>().as('n'))
    .executeTakeFirstOrThrow();
  assert.equal(Number(n), 2, 'samples and averages of the other');
  assert.equal(await store.hostMetrics.host(A), undefined);
  assert.equal(recorder.latest(A), undefined);
  assert.deepEqual(await history(store, recorder, plan(FROM, FROM + 3 * COARSE_STEP, 300, 300), A), []);
});

test('rows of hosts that were removed while no server ran go at the next start', async (t) => {
  const { clock, store, open } = await made(t);
  const first = open();
  await run(first, clock, 330, () => 10);
  await first.close();
  await store.hosts.delete(A);
  await open().work();
  assert.equal(await store.hostMetrics.host(A), undefined);
});

test('a store that cannot be written loses nothing for a while, is complained of once, and harms nobody', async (t) => {
  const { clock, store, log, open } = await made(t);
  const recorder = open();
  const { write } = store.hostMetrics;
  const full = () => Promise.reject(new FairleadError('STORE_FULL', 'the disk is full'));
  Object.assign(store.hostMetrics, { write: full });
  await run(recorder, clock, 900, () => 10);
  assert.deepEqual(await rowTimes(store, 0), []);
  assert.ok(log.length >= 1 && log.length < 15, String(log.length));
  assert.equal((await history(store, recorder, plan(FROM, FROM + 900, 300, 300))).length, 3);
  Object.assign(store.hostMetrics, { write });
  await recorder.work();
  assert.deepEqual(await rowTimes(store, 0), [0, 300, 600]);
  assert.deepEqual(recorder.counts, { taken: 30, lost: 0 });
});

test('a row that somebody has damaged is a gap, and new samples take its place', async (t) => {
  const { clock, store, open } = await made(t);
  const first = open();
  await run(first, clock, 60, () => 10);
  await first.close();
  await store.db
    .updateTable('host_metrics')
    .set({ data: Buffer.from('nonsense') })
    .execute();
  const recorder = open();
  assert.deepEqual(await history(store, recorder, plan(FROM, FROM + 300, 60, 0)), []);
  await run(recorder, clock, 240, () => 20);
  assert.deepEqual(await history(store, recorder, plan(FROM, FROM + 300, 300, 300)), [[0, 8, 20, 20, 20]]);
});

test('a long stop is made up for in parts', async (t) => {
  const { clock, store, open } = await made(t);
  const recorder = open();
  await run(recorder, clock, 60, () => 10);
  await recorder.close();
  const ref = (await store.hostMetrics.host(A))?.ref ?? -1;
  const [row] = await store.hostMetrics.read(ref, FINE_STEP, 0, Number.MAX_SAFE_INTEGER, 1);
  const fine = Array.from({ length: 600 }, (_, i) => FROM + i * FINE_STEP);
  for (const at of fine) {
    await store.hostMetrics.write([{ ref, step: FINE_STEP, at, data: row?.data ?? Buffer.alloc(0) }]);
  }
  clock.advance(50 * COARSE_STEP * 1000);
  const kept = { samples: DAY, fine: 30 * DAY, coarse: 365 * DAY };
  const note = { warn: () => undefined, error: () => undefined };
  const later = new Recorder({ rows: store.hostMetrics, clock, kept, log: note });
  defer(t, () => later.close());
  await later.work();
  assert.equal((await rowTimes(store, COARSE_STEP)).length, 50);
  const [hour] = await history(
    store,
    later,
    plan(FROM + COARSE_STEP, FROM + 2 * COARSE_STEP, COARSE_STEP, COARSE_STEP),
  );
  assert.deepEqual(hour, [COARSE_STEP, 24, 10, 10, 10]);
});
