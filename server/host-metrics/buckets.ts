/** Samples that are not in the store yet: of each host those of the five minutes that run, and what waits to be written. */
import type { StoredSample } from './rows.ts';
import type { Figures } from './series.ts';
import { FINE_STEP } from './steps.ts';

/** Samples of one host in five minutes; those beyond are dropped. */
const MAX_SAMPLES = 1000;

/** The samples of one host in five minutes. */
export interface Bucket {
  readonly hostId: string;
  /** Where the five minutes begin, in Unix seconds. */
  readonly from: number;
  readonly samples: StoredSample[];
}

export class Buckets {
  readonly #maxWaiting: number;
  readonly #open = new Map<string, Bucket>();
  /** In the order in which they were closed. */
  readonly #waiting = new Set<Bucket>();
  #lost = 0;

  /** @param maxWaiting buckets that may wait to be written; beyond, the oldest are dropped */
  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting;
  }

  /** Samples that were dropped, since a store that cannot be written must not fill the memory. */
  get lost(): number {
    return this.#lost;
  }

  /** @param at Unix seconds */
  add(hostId: string, at: number, figures: Figures): void {
    const from = Math.floor(at / FINE_STEP) * FINE_STEP;
    let bucket = this.#open.get(hostId);
    if (bucket !== undefined && bucket.from !== from) {
      this.#close(bucket);
      bucket = undefined;
    }
    if (bucket === undefined) {
      bucket = { hostId, from, samples: [] };
      this.#open.set(hostId, bucket);
    }
    if (bucket.samples.length < MAX_SAMPLES) bucket.samples.push({ at, figures });
    else this.#lost += 1;
  }

  /** Lets what ended by `now`, in Unix seconds, wait to be written; with Infinity all. */
  closeEnded(now: number): void {
    for (const bucket of this.#open.values()) if (bucket.from + FINE_STEP <= now) this.#close(bucket);
  }

  /** The first of those that wait, `limit` at most, all of the same five minutes. */
  next(limit: number): Bucket[] {
    const buckets: Bucket[] = [];
    for (const bucket of this.#waiting) {
      if (buckets.length === limit) break;
      if (buckets[0] === undefined || buckets[0].from === bucket.from) buckets.push(bucket);
    }
    return buckets;
  }

  /** Says that these are written. */
  written(buckets: readonly Bucket[]): void {
    for (const bucket of buckets) this.#waiting.delete(bucket);
  }

  /** The samples of a host that are not in the store yet. */
  of(hostId: string): StoredSample[] {
    const open = this.#open.get(hostId)?.samples ?? [];
    const waiting = [...this.#waiting].filter((bucket) => bucket.hostId === hostId);
    return [...waiting.flatMap(({ samples }) => samples), ...open];
  }

  forget(hostId: string): void {
    this.#open.delete(hostId);
    for (const bucket of this.#waiting) if (bucket.hostId === hostId) this.#waiting.delete(bucket);
  }

  #close(bucket: Bucket): void {
    this.#open.delete(bucket.hostId);
    this.#waiting.add(bucket);
    const [oldest] = this.#waiting;
    if (oldest === undefined || this.#waiting.size <= this.#maxWaiting) return;
    this.#waiting.delete(oldest);
    this.#lost += oldest.samples.length;
  }
}
