/** What tells one of Docker's events from another: it repeats some whenever it is asked for those since a time. */

/** What an event is known by. */
export interface EventMark {
  readonly type: string;
  readonly action: string;
  readonly id: string;
  readonly timeMicros: number;
}

/** Events that Docker remembers, and so may repeat. */
export const DOCKER_REMEMBERS = 256;
/** Events that may be repeated although they are not among the last of Docker's: our own stand between them. */
const MAX_SEEN = 2 * DOCKER_REMEMBERS;

/** Microseconds of Docker's nanoseconds: those are too many for a double to count exactly. */
export function microsOf(timeNano: number): number {
  return Math.floor(timeNano / 1000);
}

/** Knows an event again that it has seen among the last ones. */
export class Repeats {
  /** In the order in which they came. */
  readonly #seen = new Set<string>();

  /** Takes note of an event. @returns whether it was seen already */
  note({ type, action, id, timeMicros }: EventMark): boolean {
    const mark = JSON.stringify([timeMicros, type, action, id]);
    if (this.#seen.has(mark)) return true;
    this.#seen.add(mark);
    for (const oldest of this.#seen) {
      if (this.#seen.size <= MAX_SEEN) break;
      this.#seen.delete(oldest);
    }
    return false;
  }
}
