/** A clock that tests advance by hand. */
import type { Clock, Timer } from '../../shared/clock.ts';

interface Waiting {
  at: number;
  readonly callback: () => void;
  readonly everyMs: number | undefined;
}

export class FakeClock implements Clock {
  #now: number;
  #monotonic = 0;
  readonly #timers = new Set<Waiting>();

  /** @param now the wall-clock time at the start, ms since 1970 */
  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  setTimeout(callback: () => void, ms: number): Timer {
    return this.#add(callback, ms, undefined);
  }

  setInterval(callback: () => void, ms: number): Timer {
    return this.#add(callback, ms, ms);
  }

  /** Timers that have not fired and were not cancelled. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  #add(callback: () => void, ms: number, everyMs: number | undefined): Timer {
    const timer = { at: this.#monotonic + Math.max(0, ms), callback, everyMs };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Lets so much time pass and fires, in order, the timers that are due on the way. */
  advance(ms: number): void {
    const end = this.#monotonic + ms;
    for (let due = this.#nextDue(end); due !== undefined; due = this.#nextDue(end)) {
      this.#moveTo(Math.max(this.#monotonic, due.at));
      if (due.everyMs === undefined) this.#timers.delete(due);
      else due.at += Math.max(1, due.everyMs);
      due.callback();
    }
    this.#moveTo(end);
  }

  /** Sets the wall clock, as an administrator or NTP would; durations do not change. */
  setWallClock(now: number): void {
    this.#now = now;
  }

  #moveTo(monotonic: number): void {
    this.#now += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }

  #nextDue(end: number): Waiting | undefined {
    let first: Waiting | undefined;
    for (const timer of this.#timers) {
      if (timer.at <= end && (first === undefined || timer.at < first.at)) first = timer;
    }
    return first;
  }
}
