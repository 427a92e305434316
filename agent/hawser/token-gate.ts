/** Who may use Standard mode: whoever has the token, and has not tried too many others. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { Budget } from '../../shared/mux/budget.ts';
import { networkOf } from '../../shared/network.ts';
import { FAILURES_PER_MINUTE, MAX_FAILED_ADDRESSES } from './limits.ts';

export class TokenGate {
  readonly #digest: Buffer;
  readonly #clock: Clock;
  /** What addresses that failed have left, the one that failed last at the end. */
  readonly #failed = new Map<string, Budget>();

  constructor(token: string, clock: Clock) {
    this.#digest = digestOf(token);
    this.#clock = clock;
  }

  /**
   * @param given what the client says, if it says anything
   * @throws FairleadError TOKEN_INVALID; RATE_LIMITED, whatever the token is then, so that guessing on tells nothing
   */
  check(given: string | undefined, address: string): void {
    const network = networkOf(address);
    const budget = this.#failed.get(network);
    const now = this.#clock.monotonic();
    // Looked at and given back: a good token costs nothing.
    if (budget !== undefined && !budget.take(now)) {
      const retryAfterSeconds = Math.ceil(60 / FAILURES_PER_MINUTE);
      throw new FairleadError('RATE_LIMITED', 'too many wrong tokens came from this address', { retryAfterSeconds });
    }
    if (given !== undefined && timingSafeEqual(digestOf(given), this.#digest)) {
      budget?.give(1);
      return;
    }
    // Who says none has not guessed.
    if (given === undefined) budget?.give(1);
    else if (budget === undefined) this.#remember(network, now).take(now);
    throw new FairleadError('TOKEN_INVALID', 'the header X-Hawser-Token does not have the token of this host');
  }

  #remember(network: string, now: number): Budget {
    for (const oldest of this.#failed.keys()) {
      if (this.#failed.size < MAX_FAILED_ADDRESSES) break;
      this.#failed.delete(oldest);
    }
    const budget = new Budget(FAILURES_PER_MINUTE / 60, FAILURES_PER_MINUTE, now);
    this.#failed.set(network, budget);
    return budget;
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
