/** How many requests each token may make: so many a minute, and a sixth of them at once, so that none starves the others. */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';

/** Tokens that are remembered: those that asked last. A token that was forgotten begins anew. */
const MAX_TOKENS = 10_000;
const MINUTE_MS = 60_000;

interface Bucket {
  /** Requests that may come at `at`. */
  left: number;
  at: number;
}

export class RequestRates {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #perMinute: number;
  readonly #atOnce: number;
  /** By token, the one that asked last at the end. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Pick<Clock, 'monotonic'>, perMinute: number) {
    this.#clock = clock;
    this.#perMinute = perMinute;
    this.#atOnce = Math.max(1, Math.floor(perMinute / 6));
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Counts a request of `tokenId`. @throws FairleadError RATE_LIMITED if it is one too many */
  take(tokenId: string): void {
    const now = this.#clock.monotonic();
    const { left, at } = this.#buckets.get(tokenId) ?? { left: this.#atOnce, at: now };
    const room = Math.min(this.#atOnce, left + ((now - at) * this.#perMinute) / MINUTE_MS);
    const isOne = room >= 1;
    this.#buckets.delete(tokenId);
    this.#buckets.set(tokenId, { left: isOne ? room - 1 : room, at: now });
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= MAX_TOKENS) break;
      this.#buckets.delete(oldest);
    }
    if (isOne) return;
    const waitMs = ((1 - room) * MINUTE_MS) / this.#perMinute;
    const detail = `this token makes too many requests: ${this.#atOnce} at once and ${this.#perMinute} a minute are taken`;
    throw new FairleadError('RATE_LIMITED', detail, { retryAfterSeconds: Math.ceil(waitMs / 1000) });
  }
}
