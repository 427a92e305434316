/**
 * Rows that belong to no transaction, written together. A row that comes alone is written at once; of those that come
 * thick and fast, all that came within the interval go into one write, so that thousands a second do not hold up the loop.
 */
import { AsyncResource } from 'node:async_hooks';
import type { Clock, Timer } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';

/** Rows that may wait; whoever brings more is refused. */
export const MAX_QUEUED_ROWS = 20_000;

export interface RowQueueOptions<R> {
  /** For people: what the rows wait for. */
  readonly name: string;
  readonly clock: Clock;
  /** The shortest time between two writes, in ms; 0: as soon as the one before is on the disk. */
  readonly intervalMs: number;
  /** Rows of one statement, and so of one commit: each writes the last page of the table and of every index anew. */
  readonly maxRows: number;
  /** In one statement: all of them are written, or none is. */
  write(rows: readonly R[]): Promise<void>;
  /** Called once some are written; they have arrived when it resolves. */
  settle(): Promise<void>;
}

interface Waiting<R> {
  readonly row: R;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class RowQueue<R> {
  readonly #options: RowQueueOptions<R>;
  #waiting: Waiting<R>[] = [];
  /** Rows that are being written, besides those that wait. */
  #writing = 0;
  #flushing: Promise<void> | undefined;
  #timer: Timer | undefined;
  #lastFlushAt = Number.NEGATIVE_INFINITY;
  readonly #flush: () => Promise<void>;

  constructor(options: RowQueueOptions<R>) {
    this.#options = options;
    // In nobody's context: the first of the rows may have come from where a transaction was open.
    this.#flush = AsyncResource.bind(() => this.#run());
  }

  /** Rows that are not on the disk yet. */
  get size(): number {
    return this.#waiting.length + this.#writing;
  }

  /** Resolves once the row has arrived. @throws FairleadError OVERLOADED, STORE_FULL, STORE_UNAVAILABLE */
  async add(row: R): Promise<void> {
    if (this.size >= MAX_QUEUED_ROWS) {
      throw new FairleadError('OVERLOADED', `too many rows wait for ${this.#options.name}`, { retryAfterSeconds: 1 });
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ row, resolve, reject });
    this.#schedule();
    await promise;
  }

  /** Writes what waits, now. */
  async drain(): Promise<void> {
    while (this.size > 0) {
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#flushing ??= this.#flush();
      await this.#flushing;
    }
  }

  #schedule(): void {
    if (this.#flushing !== undefined || this.#timer !== undefined) return;
    const { clock, intervalMs } = this.#options;
    const wait = intervalMs === 0 ? 0 : this.#lastFlushAt + intervalMs - clock.monotonic();
    if (wait > 0) {
      this.#timer = clock.setTimeout(() => {
        this.#timer = undefined;
        this.#flushing ??= this.#flush();
      }, wait);
    } else this.#flushing = this.#flush();
  }

  /** Never rejects: each row's own promise tells. */
  async #run(): Promise<void> {
    const { clock, maxRows } = this.#options;
    this.#lastFlushAt = clock.monotonic();
    const batch = this.#waiting;
    this.#waiting = [];
    this.#writing = batch.length;
    const written: Waiting<R>[] = [];
    for (let at = 0; at < batch.length; at += maxRows) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      const rows = batch.slice(at, at + maxRows);
      if (await this.#write(rows)) written.push(...rows);
    }
    await this.#settle(written);
    this.#writing = 0;
    this.#flushing = undefined;
    if (this.#waiting.length > 0) this.#schedule();
  }

  /** @returns whether the rows are written; if not, those who wait for them know */
  async #write(rows: readonly Waiting<R>[]): Promise<boolean> {
    try {
      await this.#options.write(rows.map(({ row }) => row));
      return true;
    } catch (error) {
      for (const { reject } of rows) reject(error);
      return false;
    }
  }

  async #settle(rows: readonly Waiting<R>[]): Promise<void> {
    try {
      await this.#options.settle();
      for (const { resolve } of rows) resolve();
    } catch (error) {
      for (const { reject } of rows) reject(error);
    }
  }
}
