/**
 * Writes samples into the store, makes averages of them and drops what is old: all in steps that take the loop for a few ms,
 * and never two at once.
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { HostSample } from '../../shared/messages/metrics.ts';
import type { HostMetricRows, MetricRow } from '../store/host-metrics.ts';
import { type Bucket, Buckets } from './buckets.ts';
import { cellsOf } from './cells.ts';
import { Downsampler } from './downsampler.ts';
import { decodeSamples, encodeCells, encodeSamples, type StoredSample } from './rows.ts';
import { figuresOf } from './series.ts';
import { COARSE_STEP, FINE_STEP, type Retention } from './steps.ts';

/** How often it is looked whether something is to be done. */
const TICK_MS = 5_000;
/** Hosts whose rows are written by one statement. */
const HOSTS_PER_STEP = 16;
/** Five minutes of this many hosts wait for a store that cannot be written. */
const MAX_WAITING = 20_000;
/** How often it is said that the store cannot be written. */
const COMPLAINT_MS = 60_000;

export interface RecorderDeps {
  readonly rows: HostMetricRows;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'warn' | 'error'>;
  readonly kept: Retention;
}

/** The last sample of a host. */
export interface LatestSample {
  readonly sample: HostSample;
  /** When it came, by this server's clock, in ms since 1970. */
  readonly receivedAt: number;
}

export class Recorder {
  readonly #deps: RecorderDeps;
  readonly #buckets = new Buckets(MAX_WAITING);
  readonly #latest = new Map<string, LatestSample>();
  /** By host. Of hosts that were removed there is none, and none comes. */
  readonly #refs = new Map<string, number>();
  readonly #downsampler: Downsampler;
  readonly #timer: Timer;
  #working: Promise<void> | undefined;
  #taken = 0;
  #complainedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(deps: RecorderDeps) {
    this.#deps = deps;
    this.#downsampler = new Downsampler(deps);
    this.#timer = deps.clock.setInterval(() => void this.work(), TICK_MS);
  }

  /** Samples since the start: those that came, and those that were lost since the store could not be written. */
  get counts(): { readonly taken: number; readonly lost: number } {
    return { taken: this.#taken, lost: this.#buckets.lost };
  }

  /** Takes in a sample. It counts from now on, whatever the clock of its host says. */
  add(hostId: string, sample: HostSample): void {
    if (this.#closed) return;
    const receivedAt = this.#deps.clock.now();
    this.#latest.set(hostId, { sample, receivedAt });
    this.#buckets.add(hostId, Math.floor(receivedAt / 1000), figuresOf(sample));
    this.#taken += 1;
  }

  /** Undefined until there is one since the server's start. */
  latest(hostId: string): LatestSample | undefined {
    return this.#latest.get(hostId);
  }

  /** The samples of a host that are not in the store yet. */
  waiting(hostId: string): StoredSample[] {
    return this.#buckets.of(hostId);
  }

  /** Forgets a host that was removed; its rows go soon. */
  forget(hostId: string): void {
    this.#latest.delete(hostId);
    this.#buckets.forget(hostId);
    this.#refs.delete(hostId);
    this.#downsampler.lookForOrphans();
    void this.work();
  }

  /** Does what is due. Resolves when it is done, or has failed until the next time; never rejects. */
  work(): Promise<void> {
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
    return this.#working;
  }

  /** Writes all that is there. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer.cancel();
    this.#downsampler.stop();
    await this.#working;
    await this.work();
  }

  async #work(): Promise<void> {
    try {
      const now = this.#closed ? Number.POSITIVE_INFINITY : Math.floor(this.#deps.clock.now() / 1000);
      this.#buckets.closeEnded(now);
      // In this order: what is made of rows needs all of them.
      await this.#writeWaiting();
      if (!this.#closed) await this.#downsampler.work(now);
    } catch (err) {
      this.#complain(err);
    }
  }

  async #writeWaiting(): Promise<void> {
    for (;;) {
      const buckets = this.#buckets.next(HOSTS_PER_STEP);
      if (buckets.length === 0) return;
      await this.#write(buckets);
      this.#buckets.written(buckets);
      await setImmediate();
    }
  }

  /** Writes buckets of the same five minutes: together with what is there of them, as after a restart. */
  async #write(buckets: readonly Bucket[]): Promise<void> {
    const { rows } = this.#deps;
    const from = buckets[0]?.from ?? 0;
    const refs = await this.#refsOf(buckets);
    const before = await rows.readAt([...refs.values()], 0, from);
    const known = new Map(before.map(({ ref, data }) => [ref, decodeSamples(from, data)]));
    const made = buckets.flatMap(({ hostId, samples }): MetricRow[] => {
      const ref = refs.get(hostId);
      if (ref === undefined) {
        // It was removed, and this came after that.
        this.#latest.delete(hostId);
        return [];
      }
      const all = [...(known.get(ref) ?? []), ...samples].sort((a, b) => a.at - b.at);
      return [
        { ref, step: 0, at: from, data: encodeSamples(from, all) },
        { ref, step: FINE_STEP, at: from, data: encodeCells(cellsOf(all.map(({ figures }) => figures))) },
      ];
    });
    await rows.write(made);
  }

  /** The numbers of the buckets' hosts; one that was removed has none. */
  async #refsOf(buckets: readonly Bucket[]): Promise<Map<string, number>> {
    const refs = new Map<string, number>();
    const unknown: string[] = [];
    for (const { hostId } of buckets) {
      const ref = this.#refs.get(hostId);
      if (ref === undefined) unknown.push(hostId);
      else refs.set(hostId, ref);
    }
    const hour = Math.floor((buckets[0]?.from ?? 0) / COARSE_STEP) * COARSE_STEP;
    for (const [hostId, ref] of await this.#deps.rows.refs(unknown, hour)) {
      refs.set(hostId, ref);
      this.#refs.set(hostId, ref);
    }
    return refs;
  }

  #complain(err: unknown): void {
    const { clock, log } = this.#deps;
    if (clock.monotonic() - this.#complainedAt < COMPLAINT_MS) return;
    this.#complainedAt = clock.monotonic();
    log.error({ err }, 'metrics of hosts were not written; it is tried again');
  }
}
