/** Something that ends at a time which may come to be earlier, never later. */
import type { Clock, Timer } from '../../shared/clock.ts';

/** Calls `reached` once the earliest of the times that it was told has come. */
export class Expiry {
  readonly #clock: Clock;
  readonly #reached: () => void;
  #at = Number.POSITIVE_INFINITY;
  #timer: Timer | undefined;

  constructor(clock: Clock, reached: () => void) {
    this.#clock = clock;
    this.#reached = reached;
  }

  /** @param at ms since 1970 */
  set(at: number): void {
    this.#at = Math.min(this.#at, at);
    this.#arm();
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    this.cancel();
    this.#timer = this.#clock.setTimeout(() => this.#look(), Math.max(0, this.#at - this.#clock.now()));
  }

  /** A clock may clamp a long wait: the date is looked at again each time. */
  #look(): void {
    this.#timer = undefined;
    if (this.#clock.now() < this.#at) this.#arm();
    else this.#reached();
  }
}
