/** Calls that change something act once, however often they come: a repeat gets the outcome of the first. */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';

/** How long and how many outcomes are kept. The oldest go first. */
const KEEP_MS = 10 * 60_000;
const MAX_OUTCOMES = 1_000;

interface Outcome {
  /** What was asked for: a key belongs to one call. */
  readonly call: string;
  readonly done: Promise<void>;
  readonly since: number;
}

export interface OnceOptions {
  readonly clock: Clock;
  /** Whether a call that failed so certainly did nothing: then a repeat is a new try. */
  readonly undone: (error: unknown) => boolean;
  readonly maxOutcomes?: number;
}

/** The memory of idempotency keys and their outcomes. */
export class Once {
  readonly #options: OnceOptions;
  readonly #maxOutcomes: number;
  /** In the order in which they came. */
  readonly #outcomes = new Map<string, Outcome>();

  constructor(options: OnceOptions) {
    this.#options = options;
    this.#maxOutcomes = options.maxOutcomes ?? MAX_OUTCOMES;
  }

  /** How many outcomes are kept now. */
  get size(): number {
    return this.#outcomes.size;
  }

  /**
   * Runs `act`, unless this key has run: then its outcome is shared, also while it is still running.
   * @param call names what is asked for, parameters included
   * @throws FairleadError CONFLICT when the key was used for another call; what `act` fails with
   */
  run(key: string, call: string, act: () => Promise<void>): Promise<void> {
    this.#forgetOld();
    const known = this.#outcomes.get(key);
    if (known !== undefined) {
      if (known.call === call) return known.done;
      return Promise.reject(new FairleadError('CONFLICT', 'the idempotency key was used for another call'));
    }
    const outcome = { call, done: act(), since: this.#options.clock.monotonic() };
    this.#outcomes.set(key, outcome);
    outcome.done.catch((error: unknown) => {
      if (this.#options.undone(error) && this.#outcomes.get(key) === outcome) this.#outcomes.delete(key);
    });
    return outcome.done;
  }

  #forgetOld(): void {
    const oldest = this.#options.clock.monotonic() - KEEP_MS;
    for (const [key, { since }] of this.#outcomes) {
      if (since > oldest && this.#outcomes.size < this.#maxOutcomes) return;
      this.#outcomes.delete(key);
    }
  }
}
