/** What hosts use: their samples as they come, the last one of each, and their history. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import type { HostSample } from '../../shared/messages/metrics.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { HostMetricRows } from '../store/host-metrics.ts';
import type { Cells } from './cells.ts';
import { MetricsFeed } from './feed.ts';
import { readHistory } from './history.ts';
import { type LatestSample, Recorder } from './recorder.ts';
import { inUnit, SERIES } from './series.ts';
import { type Asked, planOf, type Retention } from './steps.ts';

/** How long a sample stands for what is now, in intervals. */
const FRESH_INTERVALS = 3;

export interface MetricsConfig {
  /** From one sample of a host to the next, in ms; 0: none are asked for. */
  readonly intervalMs: number;
  readonly kept: Retention;
}

export interface HostMetricsDeps {
  readonly rows: HostMetricRows;
  readonly registry: HostRegistry;
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly config: MetricsConfig;
}

/** A figure over a step. */
export interface Statistic {
  readonly avg: number;
  readonly min: number;
  readonly max: number;
}

/** A step of a history; groups and figures that no sample of it had are absent. */
export interface Point {
  /** Where it begins, in Unix seconds. */
  readonly at: number;
  readonly samples: number;
  readonly groups: Readonly<Record<string, Readonly<Record<string, Statistic>>>>;
}

/** Times are Unix seconds. A step without samples has no point. */
export interface History {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly points: readonly Point[];
}

export class HostMetrics {
  readonly recorder: Recorder;
  readonly #deps: HostMetricsDeps;
  readonly #feed: MetricsFeed | undefined;

  constructor(deps: HostMetricsDeps) {
    const { rows, registry, clock, log, random, config } = deps;
    const { intervalMs, kept } = config;
    this.#deps = deps;
    this.recorder = new Recorder({ rows, clock, log, kept });
    if (intervalMs === 0) return;
    const take = this.recorder.add.bind(this.recorder);
    this.#feed = new MetricsFeed({ registry, clock, log, random, intervalMs, take });
  }

  /** The last sample of a host since the server's start, however old. */
  latest(hostId: string): LatestSample | undefined {
    return this.recorder.latest(hostId);
  }

  /** The last sample and its age, unless it is too old to say what is now. */
  current(hostId: string): { readonly sample: HostSample; readonly ageMs: number } | undefined {
    const latest = this.recorder.latest(hostId);
    if (latest === undefined) return undefined;
    const ageMs = Math.max(0, this.#deps.clock.now() - latest.receivedAt);
    return ageMs <= FRESH_INTERVALS * this.#deps.config.intervalMs ? { sample: latest.sample, ageMs } : undefined;
  }

  /** @throws FairleadError VALIDATION, STORE_UNAVAILABLE, or the reason of `signal` */
  async history(hostId: string, asked: Asked, signal: AbortSignal): Promise<History> {
    const { rows, clock, config } = this.#deps;
    const plan = planOf(asked, clock.now() / 1000, config.kept, Math.ceil(config.intervalMs / 1000));
    const points = await readHistory(rows, hostId, plan, () => this.recorder.waiting(hostId), signal);
    const { from, to, step } = plan;
    return { from, to, step, points: [...points].sort(([a], [b]) => a - b).map(([at, cells]) => pointOf(at, cells)) };
  }

  /** Forgets a host that was removed. */
  forget(hostId: string): void {
    this.recorder.forget(hostId);
  }

  /** Asks no host any more: a question that waits would hold up the end of its session. Idempotent. */
  stopAsking(): void {
    this.#feed?.close();
  }

  /** Stops, and writes what is not in the store yet. Idempotent. */
  async close(): Promise<void> {
    this.stopAsking();
    await this.recorder.close();
  }
}

function pointOf(at: number, { samples, series }: Cells): Point {
  const groups: Record<string, Record<string, Statistic>> = {};
  for (const [index, each] of SERIES.entries()) {
    const cell = series[index];
    if (cell === undefined) continue;
    groups[each.group] ??= {};
    const group = groups[each.group] ?? {};
    group[each.field] = {
      avg: inUnit(each, cell.sum / cell.count),
      min: inUnit(each, cell.min),
      max: inUnit(each, cell.max),
    };
  }
  return { at, samples, groups };
}
