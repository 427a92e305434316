/** Waiting for something to become true, with a deadline and without guessing how long it takes. */
import { setTimeout as sleep } from 'node:timers/promises';

/** More than the minute that an agent may stay away after its connection has failed a few times. */
export const PATIENT_MS = 90_000;
const TICK_MS = 20;
/** What a tick counts for at most: one that comes later was kept from running, by a busy machine or this process. */
const LATE_TICK_MS = 2 * TICK_MS;

/**
 * A deadline in time that this process had to run. A file's tests share the machine with those of other files: what it
 * stands still for counts against no limit, so that limits can be as short as what they hold somebody to.
 */
class Deadline implements Disposable {
  #leftMs: number;
  #lastTick = performance.now();
  readonly #passed = Promise.withResolvers<void>();
  readonly #timer = setInterval(() => this.#tick(), TICK_MS);

  constructor(ms: number) {
    this.#leftMs = ms;
  }

  /** Settles once the time is over. */
  get passed(): Promise<void> {
    return this.#passed.promise;
  }

  get isOver(): boolean {
    return this.#leftMs <= 0;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    this.#leftMs -= Math.min(now - this.#lastTick, LATE_TICK_MS);
    this.#lastTick = now;
    if (this.isOver) this.#passed.resolve();
  }
}

export interface WaitOptions {
  /** Time until the wait fails, `PATIENT_MS` unless given; see `Deadline`. */
  timeoutMs?: number;
  /** Time between two looks. */
  everyMs?: number;
  /** What to add to the error: logs, the last state. */
  context?: () => string;
  /** Why waiting on is pointless, once it is. */
  failed?: () => string | undefined;
}

/**
 * Asks until `condition` answers something other than undefined or false, and returns that. A thrown error counts as
 * "not yet"; the last one is the cause of the failure.
 * @throws Error that names `what` after the deadline.
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitOptions = {},
): Promise<T> {
  const { timeoutMs = PATIENT_MS, everyMs = 20, context, failed } = options;
  using deadline = new Deadline(timeoutMs);
  let cause: unknown;
  for (;;) {
    try {
      const answer = await condition();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      cause = error;
    }
    const failure = failed?.();
    if (failure !== undefined) throw new Error(`no ${what}: ${failure}${context ? `\n${context()}` : ''}`, { cause });
    if (deadline.isOver) break;
    await sleep(everyMs);
  }
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}${context ? `\n${context()}` : ''}`, { cause });
}

/** Fails when `promise` has not settled in `ms`; see `Deadline`. */
export async function within<T>(ms: number, what: string, promise: Promise<T>, context?: () => string): Promise<T> {
  using deadline = new Deadline(ms);
  const late = deadline.passed.then(() => {
    throw new Error(`${what} took longer than ${ms} ms${context ? `\n${context()}` : ''}`);
  });
  return await Promise.race([promise, late]);
}
