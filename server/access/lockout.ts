/**
 * How guessing is slowed down: by user and address together, and by address over all users. Never by user alone, since
 * then a stranger could keep an administrator out for ever by failing in his name.
 */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { networkOf } from '../../shared/network.ts';
import { FailureDelays } from './failure-delays.ts';

/** Failures without a wait: of one user from one address, and of all users from one address. */
const FREE_OF_USER = 5;
const FREE_OF_ADDRESS = 20;

/** A try that counts as failed until it says otherwise, so that many at once gain nothing. */
export interface Attempt {
  /** Whether this failure is the one that begins a wait where there was none. */
  readonly locksOut: boolean;
  succeeded(): void;
  /** The password was not looked at. */
  withdrawn(): void;
}

export class Lockout {
  readonly #ofUsers: FailureDelays;
  readonly #ofAddresses: FailureDelays;

  constructor(clock: Clock) {
    this.#ofUsers = new FailureDelays({ clock, free: FREE_OF_USER });
    this.#ofAddresses = new FailureDelays({ clock, free: FREE_OF_ADDRESS });
  }

  /** @throws FairleadError RATE_LIMITED with the time to wait; the try is not counted then */
  begin(user: string, address: string): Attempt {
    const network = networkOf(address);
    const pair = `${network} ${user.toLowerCase()}`;
    const waitMs = Math.max(this.#ofUsers.waitMs(pair), this.#ofAddresses.waitMs(network));
    if (waitMs > 0) {
      const retryAfterSeconds = Math.ceil(waitMs / 1000);
      throw new FairleadError('RATE_LIMITED', 'too many failed logins: wait before the next one', {
        retryAfterSeconds,
      });
    }
    const delays = [this.#ofUsers.fail(pair), this.#ofAddresses.fail(network)];
    return {
      locksOut: delays.some((delay) => delay > 0),
      succeeded: () => {
        this.#ofUsers.forgive(pair);
        // Not forgiven: who has one account must not get free tries at others by it.
        this.#ofAddresses.undo(network);
      },
      withdrawn: () => {
        this.#ofUsers.undo(pair);
        this.#ofAddresses.undo(network);
      },
    };
  }
}
