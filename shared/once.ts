/** Calls that change something act once, however often they come: a repeat gets the outcome of the first. */
import type { Clock } from './clock.ts';
import { FairleadError } from './errors.ts';

/** How long, how many and how large outcomes are kept. The oldest go first. */
const KEEP_MS = 10 * 60_000;
const MAX_OUTCOMES = 1_000;
const MAX_RESULT_CHARS = 4 * 1024 * 1024;

interface Outcome {
  /** What was asked for: a key belongs to one call. */
  readonly call: string;
  readonly done: Promise<unknown>;
  readonly since: number;
  /** Of the result as JSON. */
  chars: number;
}

export interface OnceOptions {
  readonly clock: Clock;
  /** Whether a call that failed so certainly did nothing: then a repeat is a new try. */
  readonly undone: (error: unknown) => boolean;
  readonly maxOutcomes?: number;
  readonly maxResultChars?: number;
}

/** The memory of idempotency keys and their outcomes. */
export class Once {
  readonly #options: OnceOptions;
  readonly #maxOutcomes: number;
  readonly #maxResultChars: number;
  /** In the order in which they came. */
  readonly #outcomes = new Map<string, Outcome>();
  #resultChars = 0;

  constructor(options: OnceOptions) {
    this.#options = options;
    this.#maxOutcomes = options.maxOutcomes ?? MAX_OUTCOMES;
    this.#maxResultChars = options.maxResultChars ?? MAX_RESULT_CHARS;
  }

  /** How many outcomes are kept now. */
  get size(): number {
    return this.#outcomes.size;
  }

  /**
   * Runs `act`, unless this key has run: then its outcome is shared, also while it is still running.
   * @param call names what is asked for, parameters included, and is short; its result, too, since both are kept
   * @throws FairleadError CONFLICT when the key was used for another call; what `act` fails with
   */
  run<T>(key: string, call: string, act: () => Promise<T>): Promise<T> {
    this.#forgetOld();
    const known = this.#outcomes.get(key);
    if (known !== undefined) {
      // The same call has the same kind of result.
      if (known.call === call) return known.done as Promise<T>;
      return Promise.reject(new FairleadError('CONFLICT', 'the idempotency key was used for another call'));
    }
    const done = act();
    const outcome = { call, done, since: this.#options.clock.monotonic(), chars: 0 };
    this.#outcomes.set(key, outcome);
    done.then(
      (result) => this.#weigh(key, outcome, result),
      (error: unknown) => {
        if (this.#options.undone(error) && this.#outcomes.get(key) === outcome) this.#forget(key, outcome);
      },
    );
    return done;
  }

  #weigh(key: string, outcome: Outcome, result: unknown): void {
    if (this.#outcomes.get(key) !== outcome) return;
    outcome.chars = JSON.stringify(result)?.length ?? 0;
    this.#resultChars += outcome.chars;
    for (const [oldest, one] of this.#outcomes) {
      if (this.#resultChars <= this.#maxResultChars) return;
      if (one.chars > 0) this.#forget(oldest, one);
    }
  }

  #forgetOld(): void {
    const oldest = this.#options.clock.monotonic() - KEEP_MS;
    for (const [key, outcome] of this.#outcomes) {
      if (outcome.since > oldest && this.#outcomes.size < this.#maxOutcomes) return;
      this.#forget(key, outcome);
    }
  }

  #forget(key: string, outcome: Outcome): void {
    this.#outcomes.delete(key);
    this.#resultChars -= outcome.chars;
  }
}
