/** Makes rows of an hour each of those of five minutes, drops what is old, and what is of hosts that were removed. */
import { setImmediate } from 'node:timers/promises';
import type { HostMetricRows, MetricHost } from '../store/host-metrics.ts';
import { type Cells, merged } from './cells.ts';
import { decodeCells, encodeCells } from './rows.ts';
import { COARSE_STEP, FINE_STEP, type Retention } from './steps.ts';

/** Hosts that are looked up at once, and rows that are read or dropped in one step. */
const HOSTS_PER_LOOK = 50;
const ROWS_PER_STEP = 288;

export interface DownsamplerDeps {
  readonly rows: HostMetricRows;
  readonly kept: Retention;
}

export class Downsampler {
  readonly #deps: DownsamplerDeps;
  /** The hour in which this was last done, in Unix seconds. */
  #doneHour: number | undefined;
  /** At the start there may be some of hosts that were removed just before. */
  #mayHaveOrphans = true;
  #stopped = false;

  constructor(deps: DownsamplerDeps) {
    this.#deps = deps;
  }

  /** There may be rows of hosts that were removed. */
  lookForOrphans(): void {
    this.#mayHaveOrphans = true;
  }

  /** Ends its work after the step that is under way. */
  stop(): void {
    this.#stopped = true;
  }

  /** Does what is due at `now`, in Unix seconds, once all samples up to it are written. */
  async work(now: number): Promise<void> {
    if (this.#mayHaveOrphans) {
      this.#mayHaveOrphans = false;
      await this.#dropOrphans().catch((error: unknown) => {
        this.#mayHaveOrphans = true;
        throw error;
      });
    }
    const hour = Math.floor(now / COARSE_STEP) * COARSE_STEP;
    if (hour === this.#doneHour) return;
    await this.#deps.rows.limitHourlyTo(hour);
    await this.#makeHours(hour);
    await this.#dropOld(now);
    if (!this.#stopped) this.#doneHour = hour;
  }

  async #makeHours(hour: number): Promise<void> {
    while (!this.#stopped) {
      const due = await this.#deps.rows.hourlyDue(hour, HOSTS_PER_LOOK);
      if (due.length === 0) return;
      for (const host of due) {
        await this.#makeHoursOf(host, hour);
        await setImmediate();
      }
    }
  }

  /** One step of it: a host that was looked at long ago, as before a long stop, takes several. */
  async #makeHoursOf({ ref, hourlyTo }: MetricHost, hour: number): Promise<void> {
    const { rows } = this.#deps;
    const fine = await rows.read(ref, FINE_STEP, hourlyTo, hour, ROWS_PER_STEP);
    const last = fine.at(-1);
    const isAll = fine.length < ROWS_PER_STEP || last === undefined;
    // The last hour of a part may go on in the next one.
    const to = isAll ? hour : Math.max(hourOf(last.at), hourlyTo + COARSE_STEP);
    const hours = new Map<number, Cells>();
    for (const { at, data } of fine) {
      const cells = at < to ? decodeCells(data) : undefined;
      if (cells !== undefined) hours.set(hourOf(at), merged(hours.get(hourOf(at)), cells));
    }
    await rows.write([...hours].map(([at, cells]) => ({ ref, step: COARSE_STEP, at, data: encodeCells(cells) })));
    await rows.setHourlyTo(ref, to);
  }

  async #dropOld(now: number): Promise<void> {
    const { rows, kept } = this.#deps;
    let after = 0;
    while (!this.#stopped) {
      const refs = await rows.after(after, HOSTS_PER_LOOK);
      const last = refs.at(-1);
      if (last === undefined) return;
      for (const ref of refs) {
        await this.#drop(ref, 0, now - kept.samples);
        await this.#drop(ref, FINE_STEP, now - kept.fine);
        await this.#drop(ref, COARSE_STEP, now - kept.coarse);
      }
      after = last;
    }
  }

  async #dropOrphans(): Promise<void> {
    while (!this.#stopped) {
      const refs = await this.#deps.rows.orphans(HOSTS_PER_LOOK);
      if (refs.length === 0) return;
      for (const ref of refs) {
        for (const step of [0, FINE_STEP, COARSE_STEP]) await this.#drop(ref, step, Number.MAX_SAFE_INTEGER);
        if (!this.#stopped) await this.#deps.rows.forget(ref);
      }
    }
  }

  async #drop(ref: number, step: number, before: number): Promise<void> {
    const seconds = ROWS_PER_STEP * (step || FINE_STEP);
    let isMore = true;
    while (isMore && !this.#stopped) {
      isMore = await this.#deps.rows.dropOldest(ref, step, before, seconds);
      await setImmediate();
    }
  }
}

function hourOf(at: number): number {
  return Math.floor(at / COARSE_STEP) * COARSE_STEP;
}
