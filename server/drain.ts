/** The stop of the server as requests see it: new ones are refused, those in progress get their time. */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';

/** When a client may ask again, in seconds: a restart is over by then, or nothing listens. */
const RETRY_SECONDS = 5;

export class Drain {
  readonly #clock: Pick<Clock, 'setTimeout'>;
  readonly #inProgress = new Set<ServerResponse>();
  readonly #listeners = new Set<() => void>();
  #onIdle: (() => void) | undefined;
  #isUnderWay = false;

  constructor(clock: Pick<Clock, 'setTimeout'>) {
    this.#clock = clock;
  }

  /** Whether the server is stopping. */
  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** Requests that were not answered to their end. */
  get inProgress(): number {
    return this.#inProgress.size;
  }

  /** Counts a request until its answer has ended, or its client has left. */
  count(response: ServerResponse): void {
    this.#inProgress.add(response);
    response.once('close', () => {
      this.#inProgress.delete(response);
      if (this.#inProgress.size === 0) this.#onIdle?.();
    });
  }

  /** Calls `listener` as the stop begins. */
  onBegin(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Has new requests refused from now on. Idempotent. */
  begin(): void {
    if (this.#isUnderWay) return;
    this.#isUnderWay = true;
    for (const listener of this.#listeners) listener();
  }

  /** Resolves once no request is in progress, after `limitMs` at the latest. @returns whether none is */
  async idle(limitMs: number): Promise<boolean> {
    if (this.#inProgress.size === 0) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#onIdle = () => resolve(true);
    const late = this.#clock.setTimeout(() => resolve(false), limitMs);
    try {
      return await promise;
    } finally {
      late.cancel();
      this.#onIdle = undefined;
    }
  }

  /** What new requests are refused with. */
  refusal(): FairleadError {
    return new FairleadError(
      'SHUTDOWN',
      'the server is stopping, and takes no new requests: ask again when it is back',
      {
        retryAfterSeconds: RETRY_SECONDS,
        // Nothing was begun.
        repeat: 'safe',
      },
    );
  }
}
