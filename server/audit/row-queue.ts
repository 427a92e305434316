/**
 * Rows that belong to no transaction, written together. A row that comes alone is written at once; of those that come
 * thick and fast, all that came within the interval go into one write, so that thousands a second do not hold up the loop.
 */
import { AsyncResource } from 'node:async_hooks';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_INSERT_ROWS, type NewAuditRow } from '../store/audit-rows.ts';
import type { Store } from '../store/store.ts';

/** Rows that may wait; whoever brings more is refused. */
export const MAX_QUEUED_ROWS = 20_000;

export interface RowQueueOptions {
  readonly store: Pick<Store, 'audit' | 'synced'>;
  readonly clock: Clock;
  /** The shortest time between two writes, in ms; 0: as soon as the one before is on the disk. */
  readonly intervalMs: number;
  /** Called with the number of rows that were just written. Must not throw. */
  readonly onWritten: (rows: number) => void;
}

interface Waiting {
  readonly row: NewAuditRow;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class RowQueue {
  readonly #options: RowQueueOptions;
  #waiting: Waiting[] = [];
  /** Rows that are being written, besides those that wait. */
  #writing = 0;
  #flushing: Promise<void> | undefined;
  #timer: Timer | undefined;
  #lastFlushAt = Number.NEGATIVE_INFINITY;
  readonly #flush: () => Promise<void>;

  constructor(options: RowQueueOptions) {
    this.#options = options;
    // In nobody's context: the first of the rows may have come from where a transaction was open.
    this.#flush = AsyncResource.bind(() => this.#run());
  }

  /** Rows that are not on the disk yet. */
  get size(): number {
    return this.#waiting.length + this.#writing;
  }

  /** Resolves once the row is on the disk. @throws FairleadError OVERLOADED, STORE_FULL, STORE_UNAVAILABLE */
  async add(row: NewAuditRow): Promise<void> {
    if (this.size >= MAX_QUEUED_ROWS) {
      throw new FairleadError('OVERLOADED', 'too many rows wait for the audit log', { retryAfterSeconds: 1 });
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
    this.#lastFlushAt = this.#options.clock.monotonic();
    const batch = this.#waiting;
    this.#waiting = [];
    this.#writing = batch.length;
    const written: Waiting[] = [];
    for (let at = 0; at < batch.length; at += MAX_INSERT_ROWS) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      // One statement: all of them are written, or none is.
      const rows = batch.slice(at, at + MAX_INSERT_ROWS);
      if (await this.#write(rows)) written.push(...rows);
    }
    await this.#sync(written);
    this.#writing = 0;
    this.#flushing = undefined;
    if (this.#waiting.length > 0) this.#schedule();
  }

  /** @returns whether the rows are written; if not, those who wait for them know */
  async #write(rows: readonly Waiting[]): Promise<boolean> {
    const { store, onWritten } = this.#options;
    try {
      await store.audit.append(rows.map(({ row }) => row));
    } catch (error) {
      for (const { reject } of rows) reject(error);
      return false;
    }
    onWritten(rows.length);
    return true;
  }

  async #sync(rows: readonly Waiting[]): Promise<void> {
    try {
      await this.#options.store.synced();
      for (const { resolve } of rows) resolve();
    } catch (error) {
      for (const { reject } of rows) reject(error);
    }
  }
}
