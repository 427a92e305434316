/** Samples of 10,000 hosts, one each 30 s, and the end of their five minutes: what that does to the event loop. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { readHistory } from '../../../server/host-metrics/history.ts';
import { Recorder } from '../../../server/host-metrics/recorder.ts';
import { FINE_STEP } from '../../../server/host-metrics/steps.ts';
import { openStore, type Store } from '../../../server/store/store.ts';
import { type Clock, systemClock } from '../../../shared/clock.ts';
import type { HostSample } from '../../../shared/messages/metrics.ts';
import type { Row } from '../table.ts';

const HOSTS = 10_000;
const INTERVAL_MS = 30_000;
const TICK_MS = 5;
/** In its middle five minutes end for all hosts. */
const RUN_MS = 12_000;
const BOUNDARY_MS = 2_000;
const KEPT = { samples: 86_400, fine: 30 * 86_400, coarse: 365 * 86_400 };

function aSample(i: number): HostSample {
  const percent = (i * 7) % 100;
  const cores = Array.from({ length: 8 }, (_, core) => (percent + core) % 100);
  const bytes = (gib: number) => Math.round((gib + (i % 97) / 97) * 2 ** 30);
  return {
    at: 1_800_000_000_000,
    uptimeSeconds: i,
    cpu: { percent, user: percent / 2, system: percent / 2, iowait: 0, steal: 0, cores },
    load: [percent / 10, percent / 20, percent / 30],
    memory: { totalBytes: 2 ** 34, usedBytes: bytes(6), availableBytes: bytes(9) },
    disk: { totalBytes: 2 ** 39, usedBytes: bytes(100), availableBytes: bytes(300) },
    network: { receivedBytesPerSecond: i * 11, sentBytesPerSecond: i * 3 },
  };
}

/** Calls `each` at the rate of the hosts' samples. Delays of the loop in ms, above the timer's own resolution. */
async function loaded(each: (i: number) => void) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const cpuBefore = process.cpuUsage();
  const from = performance.now();
  let made = 0;
  delay.enable();
  while (performance.now() - from < RUN_MS) {
    const due = Math.floor(((performance.now() - from) / INTERVAL_MS) * HOSTS);
    for (; made < due; made++) each(made);
    await sleep(TICK_MS);
  }
  delay.disable();
  const { user, system } = process.cpuUsage(cpuBefore);
  const ms = performance.now() - from;
  const above = (ns: number) => ns / 1e6 - 1;
  return { p99: above(delay.percentile(99)), max: above(delay.max), cpu: ((user + system) / 1000 / ms) * 100 };
}

/** A clock by which five minutes end so many ms from now. */
function clockBefore(ms: number): Clock {
  const period = FINE_STEP * 1000;
  const shift = period - ((Date.now() + ms) % period);
  return { ...systemClock, now: () => Date.now() + shift };
}

export async function metrics(): Promise<Row[]> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-bench-'));
  const store = await openStore({ dataDir: join(dir, 'data'), clock: systemClock });
  try {
    const ids = await addHosts(store);
    const idle = await loaded(() => undefined);
    const clock = clockBefore(BOUNDARY_MS);
    const failures: unknown[] = [];
    const note = (line: unknown) => void failures.push(line);
    const recorder = new Recorder({ rows: store.hostMetrics, clock, kept: KEPT, log: { warn: note, error: note } });
    // As of the last minutes: all but the sample that is still to come.
    for (let round = 0; round < 9; round++) for (const [i, id] of ids.entries()) recorder.add(id, aSample(i + round));
    const busy = await loaded((i) => recorder.add(ids[i % HOSTS] ?? '', aSample(i)));
    await recorder.close();
    if (failures.length > 0) throw new Error('rows were not written', { cause: failures[0] });
    const bytes = await bytesOfSamples(store);
    const read = await timeOfHistory(store, ids[0] ?? '', clock);
    return [
      {
        figure: `event loop delay at ${Math.round((HOSTS / INTERVAL_MS) * 1000)} samples/s of ${HOSTS} hosts, their rows written, p99`,
        value: busy.p99,
        unit: 'ms',
        baseline: idle.p99,
        against: 'no samples',
        target: '≤ 5 ms',
        held: busy.p99 <= 5,
      },
      { figure: '… longest', value: busy.max, unit: 'ms', baseline: idle.max, against: 'no samples' },
      { figure: '… CPU of one core', value: busy.cpu, unit: '%', baseline: idle.cpu, against: 'no samples' },
      {
        figure: 'a sample in the store',
        value: bytes.samples,
        unit: 'bytes',
        target: '≤ 64',
        held: bytes.samples <= 64,
      },
      { figure: 'an average of five minutes in the store', value: bytes.fine, unit: 'bytes' },
      { figure: 'a day of samples of a host, read in 720 points', value: read, unit: 'ms' },
    ];
  } finally {
    await store.close();
    await rm(dir, { recursive: true });
  }
}

async function addHosts(store: Store): Promise<string[]> {
  const ids = Array.from({ length: HOSTS }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`);
  await store.transaction(async ({ hosts }) => {
    for (const [i, id] of ids.entries()) {
      const facts = { hostname: 'h', os: 'linux', arch: 'x64', agentVersion: '1', tags: [], createdAt: 0 };
      await hosts.insert({ id, name: `host-${i}`, ...facts });
    }
  });
  return ids;
}

/** Of what was written, on the average. */
async function bytesOfSamples(store: Store): Promise<{ samples: number; fine: number }> {
  const rows = await store.db
    .selectFrom('host_metrics')
    .select((e) => ['step', e.fn.countAll<number>().as('n'), e.fn.sum<number>(e.fn('length', ['data'])).as('bytes')])
    .groupBy('step')
    .orderBy('step')
    .execute();
  const [samples, fine] = rows.map(({ n, bytes }) => Number(bytes) / Number(n));
  // Nine before, and what came in the first seconds.
  return { samples: (samples ?? Number.NaN) / 9, fine: fine ?? Number.NaN };
}

async function timeOfHistory(store: Store, hostId: string, clock: Clock): Promise<number> {
  const host = await store.hostMetrics.host(hostId);
  const to = Math.floor(clock.now() / 1000 / FINE_STEP) * FINE_STEP;
  const [row] = await store.hostMetrics.read(host?.ref ?? -1, 0, 0, Number.MAX_SAFE_INTEGER, 1);
  for (let at = to - 86_400; at < to; at += FINE_STEP) {
    await store.hostMetrics.write([{ ref: host?.ref ?? -1, step: 0, at, data: row?.data ?? Buffer.alloc(0) }]);
  }
  const plan = { from: to - 86_400, to, step: 120, rows: 0 } as const;
  const from = performance.now();
  const points = await readHistory(store.hostMetrics, hostId, plan, () => [], new AbortController().signal);
  if (points.size === 0) throw new Error('there is no history');
  return performance.now() - from;
}
