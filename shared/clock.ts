/** Time as a dependency: production passes `systemClock`, tests a clock they advance by hand. */

/** A timer that can be stopped. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall-clock time in ms since 1970. */
  now(): number;
  /** A time in ms that never goes back, for measuring durations. */
  monotonic(): number;
  /** Calls `callback` once after `ms`. The timer does not keep the process alive. */
  setTimeout(callback: () => void, ms: number): Timer;
  /** Calls `callback` every `ms`. The timer does not keep the process alive. */
  setInterval(callback: () => void, ms: number): Timer;
}

/** The longest delay Node's timers take; a longer one would fire at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout(callback, ms) {
    // A longer wait is clamped: whoever waits for a date looks at it again when the timer fires.
    const timer = setTimeout(callback, Math.min(ms, MAX_TIMEOUT_MS)).unref();
    return { cancel: () => clearTimeout(timer) };
  },
  setInterval(callback, ms) {
    const timer = setInterval(callback, Math.min(ms, MAX_TIMEOUT_MS)).unref();
    return { cancel: () => clearInterval(timer) };
  },
};
