/** Work that is done again and again, one pass after the other, until it is closed. */
import type { BaseLogger } from 'pino';
import type { Clock, Timer } from '../shared/clock.ts';

export interface PassesOptions {
  readonly clock: Clock;
  /** From one pass to the next, in ms. */
  readonly everyMs: number;
  /** One pass. */
  readonly work: () => Promise<void>;
  readonly log: Pick<BaseLogger, 'error'>;
  /** What the log says of a pass that failed. */
  readonly failure: string;
}

export class Passes {
  readonly #options: PassesOptions;
  readonly #timer: Timer;
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: PassesOptions) {
    this.#options = options;
    this.#timer = options.clock.setInterval(() => void this.pass(), options.everyMs);
  }

  /** Whether a pass that is made is to end soon. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Makes a pass now, or waits for the one that is made. Never rejects: a failure is logged, and the next pass tries again. */
  pass(): Promise<void> {
    const { work, log, failure } = this.#options;
    this.#running ??= work()
      .catch((error: unknown) => log.error({ err: error }, failure))
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Waits for the pass that is made. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer.cancel();
    await this.#running;
  }
}
