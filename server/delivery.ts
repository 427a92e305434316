/** Brings something to a receiver, step after step, each again and again until the receiver has it. */
import { Backoff } from '../shared/backoff.ts';
import type { Clock } from '../shared/clock.ts';
import { sleep } from '../shared/sleep.ts';

export interface DeliveryOptions {
  readonly clock: Clock;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** Brings what is next, if there is something. @returns whether there is likely more */
  step(signal: AbortSignal): Promise<boolean>;
  /** Told of each step that failed, which is tried again. Must not reject. */
  onFailure(error: unknown): Promise<void>;
}

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #closing = new AbortController();
  readonly #backoff: Backoff;
  #wake = Promise.withResolvers<void>();
  readonly #done: Promise<void>;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    const { retryMinMs: minMs, retryMaxMs: maxMs, random } = options;
    this.#backoff = new Backoff({ minMs, maxMs, random });
    this.#done = this.#run();
  }

  /** There may be something new. */
  wake(): void {
    this.#wake.resolve();
  }

  /** Gives up what is under way. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the server stops'));
    this.#wake.resolve();
    await this.#done;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const { clock, step, onFailure } = this.#options;
    // What makes the steps is whole only after its own constructor.
    await Promise.resolve();
    while (!signal.aborted) {
      try {
        const hasMore = await step(signal);
        this.#backoff.reset();
        if (hasMore) continue;
        await this.#wake.promise;
        this.#wake = Promise.withResolvers<void>();
      } catch (error) {
        if (signal.aborted) return;
        await onFailure(error);
        await sleep(this.#backoff.nextAtLeastCeiling(), clock, signal).catch(() => undefined); // it was closed
      }
    }
  }
}
