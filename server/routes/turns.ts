/** Lets so many of something go on at once for each key, and the others wait for their turn, in order. */

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
