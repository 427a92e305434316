/** Lets so many of something go on at once for each key, and the others wait for their turn, in order. */
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';

const RETRY_SECONDS = 30;

interface Waiting {
  begin(): void;
}

interface Lane {
  going: number;
  readonly waiting: Set<Waiting>;
}

export class Turns {
  readonly #most: number;
  /** As many entries as keys for which something goes on. */
  readonly #lanes = new Map<string, Lane>();

  constructor(most: number) {
    this.#most = most;
  }

  /** Resolves when it is the caller's turn, with what ends that, idempotent. Rejects with the signal's reason. */
  async take(key: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const lane = this.#lanes.get(key) ?? { going: 0, waiting: new Set() };
    this.#lanes.set(key, lane);
    if (lane.going < this.#most) lane.going += 1;
    else await this.#wait(lane, signal);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#pass(key, lane);
    };
  }

  async #wait(lane: Lane, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { begin: resolve };
    const onAbort = () => {
      lane.waiting.delete(waiting);
      reject(signal.reason);
    };
    lane.waiting.add(waiting);
    signal.addEventListener('abort', onAbort);
    await promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  /** Hands a turn that is over to who waits longest. */
  #pass(key: string, lane: Lane): void {
    const [next] = lane.waiting;
    if (next !== undefined) {
      lane.waiting.delete(next);
      next.begin();
      return;
    }
    lane.going -= 1;
    if (lane.going === 0) this.#lanes.delete(key);
  }
}

/** Who wants a turn, and where. */
export interface TurnKey {
  readonly hostId: string;
  /** Whose turns at a host are fewer than all of them, so that the others have some, too. */
  readonly caller: string;
}

export interface TurnLimits {
  readonly ofCaller: number;
  readonly ofHost: number;
}

/** Turns at hosts that callers share. */
export class HostTurns {
  readonly #ofCaller: Turns;
  readonly #ofHost: Turns;

  constructor({ ofCaller, ofHost }: TurnLimits) {
    this.#ofCaller = new Turns(ofCaller);
    this.#ofHost = new Turns(ofHost);
  }

  /** Resolves when it is the caller's turn at the host, with what ends that, idempotent. Rejects with the signal's reason. */
  async take({ hostId, caller }: TurnKey, signal: AbortSignal): Promise<() => void> {
    const ofCaller = await this.#ofCaller.take(`${caller} ${hostId}`, signal);
    try {
      const ofHost = await this.#ofHost.take(hostId, signal);
      return () => {
        ofHost();
        ofCaller();
      };
    } catch (error) {
      ofCaller();
      throw error;
    }
  }
}

export interface SlowLimits extends TurnLimits {
  /** What takes turns, in the plural. */
  readonly what: string;
  /** How many of one caller may wait at one host. */
  readonly waiting: number;
}

/** How long a turn is waited for. */
export const TURN_WAIT_MS = 20_000;

/** Turns for what takes long: it is waited for them for a while, by some. */
export class SlowTurns {
  readonly #limits: SlowLimits;
  readonly #clock: Clock;
  readonly #turns: HostTurns;
  /** As many entries as callers that wait. */
  readonly #waiting = new Map<string, number>();

  constructor(limits: SlowLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#turns = new HostTurns(limits);
  }

  /**
   * @param waitMs how long the turn is waited for @returns what ends it, idempotent
   * @throws FairleadError OVERLOADED, the signal's reason
   */
  async take(key: TurnKey, signal: AbortSignal, waitMs: number = TURN_WAIT_MS): Promise<() => void> {
    const id = `${key.caller} ${key.hostId}`;
    const waiting = this.#waiting.get(id) ?? 0;
    if (waiting >= this.#limits.waiting) throw this.#excess(`${waiting} of yours wait for their turn already`);
    this.#waiting.set(id, waiting + 1);
    const late = new AbortController();
    const timer = this.#clock.setTimeout(
      () => late.abort(this.#excess(`there was no turn within ${waitMs / 1000} s`)),
      waitMs,
    );
    try {
      return await this.#turns.take(key, AbortSignal.any([signal, late.signal]));
    } finally {
      timer.cancel();
      const left = (this.#waiting.get(id) ?? 1) - 1;
      if (left === 0) this.#waiting.delete(id);
      else this.#waiting.set(id, left);
    }
  }

  #excess(why: string): FairleadError {
    const { what, ofHost, ofCaller } = this.#limits;
    const most = `at most ${ofHost} go on at a host, ${ofCaller} of one caller`;
    return new FairleadError('OVERLOADED', `${what} take turns: ${most}, and ${why}; try again later`, {
      retryAfterSeconds: RETRY_SECONDS,
    });
  }
}
