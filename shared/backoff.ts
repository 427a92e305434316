/** How long to wait before the next attempt: exponential with full jitter, so that many clients do not come at once. */

export interface BackoffOptions {
  /** The ceiling of the first delay, in ms. */
  readonly minMs: number;
  /** The ceiling that later delays double up to, in ms. */
  readonly maxMs: number;
  /** A random number in [0, 1). */
  readonly random: () => number;
}

/** Counts failed attempts and hands out delays. */
export class Backoff {
  #failures = 0;
  readonly #options: BackoffOptions;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Counts one more failure. @returns a delay in ms, evenly spread between 0 and the current ceiling. */
  next(): number {
    const ceiling = this.#ceiling();
    this.#failures += 1;
    return Math.round(this.#options.random() * ceiling);
  }

  /** As `next`, but spread between the current ceiling and twice that: for waits that must not be short. */
  nextAtLeastCeiling(): number {
    const ceiling = this.#ceiling();
    return ceiling + this.next();
  }

  /** The next delay is the first one again. */
  reset(): void {
    this.#failures = 0;
  }

  #ceiling(): number {
    const { minMs, maxMs } = this.#options;
    // Beyond 2^30 the doubling could only overflow; the ceiling is reached long before.
    return Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 30));
  }
}
