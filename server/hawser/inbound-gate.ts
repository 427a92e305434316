/**
 * Bounds what streams of one session hold for their readers. All of them share a socket: it is paused, time and again and for a
 * moment, to let a reader catch up; one that does not loses its stream, so that the others are not held up for long.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { MemoryPool } from '../../shared/mux/memory-pool.ts';
import { BETWEEN_PAUSES_MS, HARD_BUFFER_BYTES, PAUSE_MS, SESSION_BUFFER_BYTES, SOFT_BUFFER_BYTES } from './limits.ts';

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
  readonly #options: InboundGateOptions;
  readonly #held = new Map<Holder, number>();
  #bytes = 0;
  /** While the socket is paused, and for a moment after it was. */
  #timer: Timer | undefined;
  #isPaused = false;
  #isClosed = false;

  constructor(options: InboundGateOptions) {
    this.#options = options;
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
  }

  #bound(holder: Holder, bytes: number): void {
    const { memory } = this.#options;
    if (bytes > HARD_BUFFER_BYTES) this.#drop(holder);
    else if (this.#bytes > SESSION_BUFFER_BYTES || memory?.hasRoom(0) === false) this.#dropLargest();
    if (this.#isFull() && this.#timer === undefined && !this.#isClosed) this.#pause();
  }

  #isFull(): boolean {
    for (const bytes of this.#held.values()) if (bytes > SOFT_BUFFER_BYTES) return true;
    return false;
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

  #pause(): void {
    const { clock, pause } = this.#options;
    this.#isPaused = true;
    pause();
    this.#timer = clock.setTimeout(() => this.#read(), PAUSE_MS);
  }

  /** Reads for a moment at least before the next pause, for the sake of all others. */
  #read(): void {
    const { clock, resume } = this.#options;
    this.#timer?.cancel();
    if (this.#isClosed) return;
    this.#isPaused = false;
    resume();
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined;
      if (this.#isFull()) this.#pause();
    }, BETWEEN_PAUSES_MS);
  }
}
