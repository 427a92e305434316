/** Signals of one stream: paced on the way out, limited on the way in. */
import type { Clock, Timer } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import { Budget } from './budget.ts';

/** Signals that may wait, for their turn at the sender and for a listener at the receiver. */
export const MAX_WAITING_SIGNALS = 64;

/** Sends at most so many signals a second, and keeps a few more for later. */
export class SignalPacer {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #send: (payload: Uint8Array) => void;
  readonly #budget: Budget;
  readonly #waiting: Uint8Array[] = [];
  #timer: Timer | undefined;

  constructor(clock: Clock, perSecond: number, send: (payload: Uint8Array) => void) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#send = send;
    this.#budget = new Budget(perSecond, perSecond, clock.monotonic());
  }

  /** @throws FairleadError RATE_LIMITED if too many wait already */
  submit(payload: Uint8Array): void {
    if (this.#waiting.length === 0 && this.#budget.take(this.#clock.monotonic())) {
      this.#send(payload);
      return;
    }
    if (this.#waiting.length >= MAX_WAITING_SIGNALS) {
      throw new FairleadError('RATE_LIMITED', `more than ${this.#perSecond} signals a second on one stream`);
    }
    this.#waiting.push(payload);
    this.#arm();
  }

  #arm(): void {
    this.#timer ??= this.#clock.setTimeout(
      () => {
        this.#timer = undefined;
        while (this.#waiting.length > 0 && this.#budget.take(this.#clock.monotonic())) {
          const payload = this.#waiting.shift();
          if (payload !== undefined) this.#send(payload);
        }
        if (this.#waiting.length > 0) this.#arm();
      },
      Math.ceil(1000 / this.#perSecond),
    );
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#waiting.length = 0;
  }
}

/** Seconds of signals that may arrive at once: what a stalled network holds back comes in one burst. */
const BURST_SECONDS = 10;

/** Hands signals to the application's listener, and keeps the first few until there is one. */
export class SignalGate {
  readonly #budget: Budget;
  readonly #waiting: unknown[] = [];
  #listener: ((value: unknown) => void) | undefined;

  constructor(perSecond: number, now: number) {
    this.#budget = new Budget(perSecond, perSecond * BURST_SECONDS, now);
  }

  /** @throws FairleadError RATE_LIMITED, OVERLOADED: the stream must go */
  receive(value: unknown, now: number): void {
    if (!this.#budget.take(now)) throw new FairleadError('RATE_LIMITED', 'too many signals on one stream');
    if (this.#listener !== undefined) {
      this.#listener(value);
      return;
    }
    if (this.#waiting.length >= MAX_WAITING_SIGNALS) throw new FairleadError('OVERLOADED', 'nobody takes the signals');
    this.#waiting.push(value);
  }

  listen(listener: (value: unknown) => void): void {
    this.#listener = listener;
    for (const value of this.#waiting.splice(0)) listener(value);
  }
}
