/**
 * Bounds what streams of one session hold for their readers. All of them share a socket: it is paused, time and again and for a
 * moment, to let a reader catch up; one that does not loses its stream, so that the others are not held up for long. Only those
 * who read on at a good pace may hold the socket to it: for others it is paused for a small part of the time.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { Budget } from '../../shared/mux/budget.ts';
import type { MemoryPool } from '../../shared/mux/memory-pool.ts';
import {
  BEHIND_MS,
  BETWEEN_PAUSES_MS,
  HARD_BUFFER_BYTES,
  PAUSE_MS,
  PAUSES,
  READER_BYTES_PER_MS,
  SESSION_BUFFER_BYTES,
  SOFT_BUFFER_BYTES,
  URGENT_BUFFER_BYTES,
} from './limits.ts';
import { WholeAnswers } from './whole-answers.ts';

/** A stream that holds bytes for its reader. */
export interface Holder {
  fail(error: FairleadError): void;
}

export interface InboundGateOptions {
  readonly clock: Clock;
  /** What the streams of all agents may take together; unlimited if absent. */
  readonly memory?: MemoryPool | undefined;
  pause(): void;
  resume(): void;
}

export class InboundGate {
  /** What came in one message: it cannot come more slowly, and is bounded by itself. */
  readonly wholes: WholeAnswers;
  readonly #options: InboundGateOptions;
  readonly #held = new Map<Holder, number>();
  /** Since when those that are behind are; monotonic, ms. */
  readonly #behind = new Map<Holder, number>();
  /** Time of pauses, in ms, that readers have not paid for by what they took. */
  readonly #pauses: Budget;
  #bytes = 0;
  #pausedAt = 0;
  /** What all took since then. */
  #taken = 0;
  /** While the socket is paused, and for a moment after it was. */
  #timer: Timer | undefined;
  #isPaused = false;
  #isClosed = false;

  constructor(options: InboundGateOptions) {
    this.#options = options;
    this.wholes = new WholeAnswers(options);
    this.#pauses = new Budget(PAUSES.perSecond * 1000, PAUSES.burstMs, options.clock.monotonic());
  }

  /** What all streams hold. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Says how much `holder` holds now; none: it is over. A holder that has too much is failed at once. */
  set(holder: Holder, bytes: number): void {
    const before = this.#held.get(holder) ?? 0;
    if (bytes === 0) this.#held.delete(holder);
    else this.#held.set(holder, bytes);
    this.#bytes += bytes - before;
    this.#options.memory?.count(bytes - before);
    this.#taken += Math.max(0, before - bytes);
    if (bytes <= SOFT_BUFFER_BYTES) this.#behind.delete(holder);
    else if (!this.#behind.has(holder)) this.#behind.set(holder, this.#options.clock.monotonic());
    if (bytes > before) this.#bound(holder, bytes);
    else if (this.#isPaused && !this.#isFull()) this.#read();
  }

  /** Lets go of everything. */
  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#options.memory?.count(-this.#bytes);
    this.#bytes = 0;
    this.#held.clear();
    this.#behind.clear();
  }

  #bound(holder: Holder, bytes: number): void {
    const { memory } = this.#options;
    if (bytes > HARD_BUFFER_BYTES) this.#drop(holder);
    else if (this.#bytes > SESSION_BUFFER_BYTES || memory?.hasRoom(0) === false) this.#dropLargest();
    if (!this.#isFull() || this.#isPaused || this.#isClosed) return;
    // A fast agent fills in a moment what a reader of a good pace takes long to read: that one is not to lose its stream for it.
    if (this.#timer === undefined) this.#pause();
    else if (bytes > URGENT_BUFFER_BYTES) this.#tryPause();
  }

  #isFull(): boolean {
    return this.#behind.size > 0;
  }

  #dropLate(): void {
    const late = this.#options.clock.monotonic() - BEHIND_MS;
    for (const [holder, since] of [...this.#behind]) if (since <= late) this.#drop(holder);
  }

  #dropLargest(): void {
    let largest: [Holder, number] | undefined;
    for (const one of this.#held) if (largest === undefined || one[1] > largest[1]) largest = one;
    if (largest !== undefined) this.#drop(largest[0]);
  }

  #drop(holder: Holder): void {
    this.set(holder, 0);
    holder.fail(
      new FairleadError(
        'OVERLOADED',
        'the reader is too slow: all streams of a Hawser host share one connection, which cannot wait for one of them',
      ),
    );
  }

  /** Pauses, as long as that is not too much already; in any case it looks again. */
  #pause(): void {
    if (!this.#tryPause()) this.#lookAgain();
  }

  #tryPause(): boolean {
    const { clock, pause } = this.#options;
    const now = clock.monotonic();
    if (!this.#pauses.take(now, PAUSE_MS)) return false;
    this.#timer?.cancel();
    this.#isPaused = true;
    this.#pausedAt = now;
    this.#taken = 0;
    pause();
    this.#timer = clock.setTimeout(() => this.#read(), PAUSE_MS);
    return true;
  }

  /** Reads for a moment at least before the next pause, for the sake of all others. */
  #read(): void {
    const { clock, resume } = this.#options;
    this.#timer?.cancel();
    if (this.#isClosed) return;
    this.#isPaused = false;
    const pausedMs = clock.monotonic() - this.#pausedAt;
    this.#pauses.give(PAUSE_MS - Math.max(0, pausedMs - this.#taken / READER_BYTES_PER_MS));
    resume();
    this.#lookAgain();
  }

  #lookAgain(): void {
    this.#timer = this.#options.clock.setTimeout(() => {
      this.#timer = undefined;
      this.#dropLate();
      if (this.#isFull()) this.#pause();
    }, BETWEEN_PAUSES_MS);
  }
}
