/** Slows down whoever fails again and again: a few tries are free, then each failure doubles the wait. Bounded in memory. */
import type { Clock } from '../../shared/clock.ts';

export interface FailureDelaysOptions {
  readonly clock: Clock;
  /** Failures without a wait. */
  readonly free: number;
}

const FIRST_DELAY_MS = 1_000;
/** No wait is longer, so that nobody is kept out for ever. */
export const MAX_DELAY_MS = 15 * 60_000;
/** After so long without a failure everything is forgotten. */
const FORGET_MS = 60 * 60_000;
/** Whoever failed longest ago is forgotten first. */
const MAX_ENTRIES = 10_000;

/** Times are the clock's monotonic ones. */
interface Entry {
  failures: number;
  at: number;
  until: number;
}

export class FailureDelays {
  readonly #clock: Clock;
  readonly #free: number;
  readonly #entries = new Map<string, Entry>();

  constructor({ clock, free }: FailureDelaysOptions) {
    this.#clock = clock;
    this.#free = free;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** How long `key` must wait from now, in ms; 0 if it need not. */
  waitMs(key: string): number {
    return Math.max(0, (this.#find(key)?.until ?? 0) - this.#clock.monotonic());
  }

  /** Counts a failure. @returns the wait that begins with it, in ms; 0 while failures are free */
  fail(key: string): number {
    const at = this.#clock.monotonic();
    const failures = (this.#find(key)?.failures ?? 0) + 1;
    const excess = failures - this.#free;
    const delay = excess <= 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** Math.min(excess - 1, 30), MAX_DELAY_MS);
    this.#entries.delete(key);
    this.#entries.set(key, { failures, at, until: at + delay });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES) break;
      this.#entries.delete(oldest);
    }
    return delay;
  }

  /** Takes back one failure that was none. */
  undo(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.failures--;
    if (entry.failures <= this.#free) entry.until = 0;
    if (entry.failures <= 0) this.#entries.delete(key);
  }

  forgive(key: string): void {
    this.#entries.delete(key);
  }

  #find(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#clock.monotonic() - entry.at < FORGET_MS) return entry;
    this.#entries.delete(key);
    return undefined;
  }
}
