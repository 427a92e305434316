/**
 * Bounds what came in one message and is not read yet: answers that an agent cannot stream, each of many MiB perhaps. They hold
 * up no socket, only memory: each has to be read in time, and when there is no room, the largest that is read slowly goes.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { MemoryPool } from '../../shared/mux/memory-pool.ts';
import type { Holder } from './inbound-gate.ts';
import { SESSION_WHOLE_BYTES, SMALL_WHOLE_BYTES, WHOLE_MS, WHOLE_SLOW_MS } from './limits.ts';

export interface WholeAnswersOptions {
  readonly clock: Clock;
  /** What the streams of all agents may take together; unlimited if absent. */
  readonly memory?: MemoryPool | undefined;
}

interface Held {
  readonly bytes: number;
  /** Monotonic, ms. */
  readonly since: number;
  readonly timer: Timer;
}

export class WholeAnswers {
  readonly #options: WholeAnswersOptions;
  readonly #held = new Map<Holder, Held>();
  #bytes = 0;

  constructor(options: WholeAnswersOptions) {
    this.#options = options;
  }

  /** What all of them hold. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Makes room for an answer that `set` is told of in the same turn. @throws FairleadError OVERLOADED */
  require(bytes: number): void {
    while (bytes > SMALL_WHOLE_BYTES && !this.#hasRoom(bytes)) {
      if (this.#dropSlowest()) continue;
      throw new FairleadError('OVERLOADED', 'too many large answers of this Hawser host wait for their readers', {
        retryAfterSeconds: WHOLE_SLOW_MS / 1000,
      });
    }
  }

  /** Says how much `holder` holds now; none: it is over. One that is not over in time is failed. */
  set(holder: Holder, bytes: number): void {
    const before = this.#held.get(holder);
    const change = bytes - (before?.bytes ?? 0);
    if (bytes === 0) {
      before?.timer.cancel();
      this.#held.delete(holder);
    } else {
      const { clock } = this.#options;
      const { since, timer } = before ?? {
        since: clock.monotonic(),
        timer: clock.setTimeout(() => holder.fail(tooSlow()), WHOLE_MS),
      };
      this.#held.set(holder, { bytes, since, timer });
    }
    this.#bytes += change;
    this.#options.memory?.count(change);
  }

  #hasRoom(bytes: number): boolean {
    return this.#bytes + bytes <= SESSION_WHOLE_BYTES && this.#options.memory?.hasRoom(bytes) !== false;
  }

  /** @returns whether there was one */
  #dropSlowest(): boolean {
    const slow = this.#options.clock.monotonic() - WHOLE_SLOW_MS;
    let largest: [Holder, Held] | undefined;
    for (const one of this.#held) {
      if (one[1].since <= slow && one[1].bytes > (largest?.[1].bytes ?? 0)) largest = one;
    }
    if (largest === undefined) return false;
    this.set(largest[0], 0);
    largest[0].fail(tooSlow());
    return true;
  }
}

function tooSlow(): FairleadError {
  return new FairleadError('TIMEOUT', 'the client did not read its answer in time');
}
