/** What keeps a server that sends something else than it was signed for from having a host download it again and again. */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_SPOILED, SPOILED_MAX_MS, SPOILED_MIN_MS } from './limits.ts';

export class SpoiledDownloads {
  readonly #clock: Clock;
  /** One after the other. */
  #count = 0;
  /** Until when nothing is downloaded, in ms of the monotonic clock. */
  #until = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A download did not fit its release. */
  add(): void {
    this.#count += 1;
    if (this.#count < MAX_SPOILED) return;
    const waitMs = Math.min(SPOILED_MIN_MS * 2 ** (this.#count - MAX_SPOILED), SPOILED_MAX_MS);
    this.#until = this.#clock.monotonic() + waitMs;
  }

  /** One did. */
  clear(): void {
    this.#count = 0;
  }

  /** Why nothing is downloaded now; undefined: it is. */
  refusal(): FairleadError | undefined {
    const seconds = Math.ceil((this.#until - this.#clock.monotonic()) / 1000);
    if (seconds <= 0) return undefined;
    const text = `what the server sent was ${this.#count} times not what was signed: nothing is downloaded for ${seconds} s`;
    return new FairleadError('OVERLOADED', text, { retryAfterSeconds: seconds });
  }
}
