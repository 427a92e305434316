/** Pings that wait for their pong, and pongs that wait to leave. */
import type { Clock, Timer } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import { violation } from './session-end.ts';

interface Waiting {
  readonly sentAt: number;
  readonly timer: Timer;
  readonly result: PromiseWithResolvers<number>;
}

export class Pings {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #pongsQueued = 0;

  constructor(clock: Clock, max: number) {
    this.#clock = clock;
    this.#max = max;
  }

  /**
   * Sends a ping. @returns the round trip in ms
   * @throws FairleadError OVERLOADED, TIMEOUT, or what `fail` is called with
   */
  send(timeoutMs: number, send: (id: number) => void): Promise<number> {
    if (this.#waiting.size >= this.#max) {
      return Promise.reject(new FairleadError('OVERLOADED', 'too many pings wait for their pong'));
    }
    this.#lastId += 1;
    const id = this.#lastId;
    const result = Promise.withResolvers<number>();
    const timer = this.#clock.setTimeout(() => {
      this.#waiting.delete(id);
      result.reject(new FairleadError('TIMEOUT', `no pong within ${timeoutMs} ms`));
    }, timeoutMs);
    this.#waiting.set(id, { sentAt: this.#clock.monotonic(), timer, result });
    send(id);
    return result.promise;
  }

  /** A pong that nobody waits for any more is late, and of no interest. */
  pong(id: number): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    waiting.timer.cancel();
    waiting.result.resolve(this.#clock.monotonic() - waiting.sentAt);
  }

  /** Answers the peer's ping. @throws FairleadError PROTOCOL_ERROR if it does not read the pongs to its pings */
  answer(queue: (sent: () => void) => void): void {
    if (this.#pongsQueued >= this.#max) throw violation('pings whose pongs it does not read');
    this.#pongsQueued += 1;
    queue(() => {
      this.#pongsQueued -= 1;
    });
  }

  fail(error: FairleadError): void {
    for (const waiting of this.#waiting.values()) {
      waiting.timer.cancel();
      waiting.result.reject(error);
    }
    this.#waiting.clear();
  }
}
