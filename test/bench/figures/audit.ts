/** The audit log at 5,000 rows a second, and what that does to the event loop. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Audit } from '../../../server/audit/audit.ts';
import { openStore } from '../../../server/store/store.ts';
import { systemClock as clock } from '../../../shared/clock.ts';
import type { Row } from '../table.ts';

const ROWS_PER_SECOND = 5_000;
const TICK_MS = 2;
const RUN_MS = 4_000;

/** Event loop delay and its p99 above the timer's own resolution, in ms, while `each` is called so often. */
async function loaded(each: () => void): Promise<{ p99: number; cpu: number; rate: number }> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const cpuBefore = process.cpuUsage();
  const from = performance.now();
  let made = 0;
  delay.enable();
  while (performance.now() - from < RUN_MS) {
    const due = Math.floor(((performance.now() - from) / 1000) * ROWS_PER_SECOND);
    for (; made < due; made++) each();
    await sleep(TICK_MS);
  }
  delay.disable();
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpuBefore);
  // The histogram measures the time between two of its own timers, one ms apart.
  return { p99: delay.percentile(99) / 1e6 - 1, cpu: ((user + system) / 1000 / ms) * 100, rate: (made / ms) * 1000 };
}

export async function audit(): Promise<Row[]> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-bench-'));
  const store = await openStore({ dataDir: join(dir, 'data'), clock });
  try {
    const idle = await loaded(() => undefined);
    const lost: unknown[] = [];
    const log = new Audit({
      store,
      clock,
      log: { error: (line: unknown) => void lost.push(line) },
      writeIntervalMs: 20,
    });
    const entry = { actor: 'bench', address: '192.0.2.1', action: 'container.start', target: 'host/container' };
    const waiting = new Set<Promise<void>>();
    const busy = await loaded(() => {
      const row = log.record({ ...entry, result: 'ok', detail: { timeoutSeconds: 10 } });
      waiting.add(row);
      void row.finally(() => waiting.delete(row));
    });
    // The log's timer keeps no process alive.
    await log.drain();
    await Promise.all(waiting);
    if (lost.length > 0) throw new Error(`${lost.length} rows were lost`);
    return [
      {
        figure: `event loop delay at ${Math.round(busy.rate)} audit rows/s, p99`,
        value: busy.p99,
        unit: 'ms',
        baseline: idle.p99,
        against: 'no rows',
        target: '≤ 2 ms',
        held: busy.p99 <= 2,
      },
      { figure: '… CPU of one core', value: busy.cpu, unit: '%', baseline: idle.cpu, against: 'no rows' },
    ];
  } finally {
    await store.close();
    await rm(dir, { recursive: true });
  }
}
