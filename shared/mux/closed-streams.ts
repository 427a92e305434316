/** Which frames for streams that no longer exist are still forgiven. Its memory does not grow with the streams that were. */

/**
 * Ids of one end, which only rise. A stream opened within the last grace has also been closed within it, so ids above
 * the mark taken a grace ago need no record; the few older ones that were still alive then are recorded as they close.
 */
export class ClosedStreams {
  readonly #graceMs: number;
  /** The highest id there was at some time at least a grace ago. */
  #olderId = 0;
  /** The highest id there was at `#newerAt`, which becomes the older mark a grace later. */
  #newerId = 0;
  #newerAt: number;
  #highest = 0;
  /** When streams from before the mark closed, oldest first. At most two generations of open streams. */
  #late: Map<number, number> | undefined;

  /** @param now a monotonic time in ms */
  constructor(graceMs: number, now: number) {
    this.#graceMs = graceMs;
    this.#newerAt = now;
  }

  /** The highest id opened so far. */
  get highest(): number {
    return this.#highest;
  }

  /** The end has opened a stream. */
  opened(id: number, now: number): void {
    this.#turn(now);
    this.#highest = id;
  }

  /** One of its streams is closed. */
  closed(id: number, now: number): void {
    this.#turn(now);
    // Recorded even above the older mark: the mark may pass the id before the grace is over.
    if (id > this.#newerId) return;
    this.#late ??= new Map();
    this.#late.set(id, now);
  }

  /** Whether a frame for the stream, which was opened once and is not open now, is dropped rather than an error. */
  forgives(id: number, now: number): boolean {
    this.#turn(now);
    return id > this.#olderId || this.#late?.has(id) === true;
  }

  #turn(now: number): void {
    if (this.#late !== undefined) {
      for (const [id, at] of this.#late) {
        if (now - at < this.#graceMs) break;
        this.#late.delete(id);
      }
    }
    const age = now - this.#newerAt;
    if (age < this.#graceMs) return;
    // After two graces without a look, even the ids since the newer mark are old.
    this.#olderId = age < 2 * this.#graceMs ? this.#newerId : this.#highest;
    this.#newerId = this.#highest;
    this.#newerAt = now;
  }
}
