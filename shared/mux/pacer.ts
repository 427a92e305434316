/** Spreads frames over time at a given rate, so that acks that come in a bunch do not send a bunch. Pure but for the time it is handed. */

/** No timer is finer. */
const TIMER_MS = 1;
/** Timers are late by a ms or two: what they miss may leave at once. */
const BURST_MS = 2;
/** Two full frames: one on the wire, and one that is there when the first has left. */
const BURST_FRAMES = 2;

export class Pacer {
  /** Bytes that may leave at `#at`; negative after a frame that was larger. */
  #credit = 0;
  #at = 0;

  /**
   * How long the next frame has to wait, in ms; 0 if it may leave.
   * @param perMs bytes per ms
   * @param frameBytes the length of a full frame
   */
  waitMs(now: number, perMs: number, frameBytes: number): number {
    const burst = Math.max(BURST_FRAMES * frameBytes, BURST_MS * perMs);
    this.#credit = Math.min(burst, this.#credit + (now - this.#at) * perMs);
    this.#at = now;
    return this.#credit > 0 ? 0 : Math.max(TIMER_MS, -this.#credit / perMs);
  }

  /** Forgets what has left: up to now frames need no pace. */
  rest(now: number): void {
    this.#credit = 0;
    this.#at = now;
  }

  sent(bytes: number): void {
    this.#credit -= bytes;
  }
}
