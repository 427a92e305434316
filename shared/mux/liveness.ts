/** Notices that nothing has been heard for too long. One timer, which is not touched per frame. */
import type { Clock, Timer } from '../clock.ts';

export class Liveness {
  readonly #clock: Clock;
  #heardAt: number;
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#heardAt = clock.monotonic();
  }

  /** When something last came, in the clock's monotonic ms. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** Something came. */
  heard(): void {
    this.#heardAt = this.#clock.monotonic();
  }

  /** Calls `onSilence` once nothing has come for so long, counted from now on. */
  start(silenceMs: number, onSilence: () => void): void {
    this.stop();
    this.heard();
    this.#watch(silenceMs, silenceMs, onSilence);
  }

  #watch(silenceMs: number, waitMs: number, onSilence: () => void): void {
    this.#timer = this.#clock.setTimeout(() => {
      const silentMs = this.#clock.monotonic() - this.#heardAt;
      if (silentMs >= silenceMs) onSilence();
      else this.#watch(silenceMs, silenceMs - silentMs, onSilence);
    }, waitMs);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
