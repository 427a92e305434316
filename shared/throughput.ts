/** How a link's throughput is measured, alike at both ends: one writes for a while, the other counts what comes. */
import { randomBytes } from 'node:crypto';
import type { Writable } from 'node:stream';
import type { Clock } from './clock.ts';
import { FairleadError } from './errors.ts';

const CHUNK_BYTES = 64 * 1024;
/** How long a link may take to find its speed before its bytes count. */
const WARM_UP_MS = 500;

/** What came in the part of a measurement that counts. */
export interface Counted {
  readonly bytes: number;
  readonly ms: number;
}

/** Counts bytes as they come. */
export class Arrivals {
  readonly #clock: Clock;
  #total = 0;
  #lastAt = 0;
  #first: { at: number; total: number } | undefined;
  #warm: { at: number; total: number } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** All bytes that came. */
  get total(): number {
    return this.#total;
  }

  add(bytes: number): void {
    const now = this.#clock.monotonic();
    this.#total += bytes;
    this.#lastAt = now;
    const mark = { at: now, total: this.#total };
    this.#first ??= mark;
    if (this.#warm === undefined && now - this.#first.at >= WARM_UP_MS) this.#warm = mark;
  }

  /** The bytes that came once the link was warm, and the time they took; of a short measurement all but the first chunk. */
  get counted(): Counted {
    const isLong = this.#warm !== undefined && this.#lastAt - this.#warm.at >= WARM_UP_MS;
    const from = isLong ? this.#warm : this.#first;
    if (from === undefined) return { bytes: 0, ms: 0 };
    return { bytes: this.#total - from.total, ms: this.#lastAt - from.at };
  }
}

/**
 * Writes bytes that nothing can compress, as fast as `sink` takes them, until the time or the bytes are used up.
 * Does not end `sink`. @returns how many @throws the signal's reason, or why `sink` was closed
 */
export async function writeNoise(
  sink: Writable,
  most: { readonly bytes: number; readonly ms: number },
  clock: Clock,
  signal: AbortSignal,
): Promise<number> {
  // One chunk over and over: its period is twice as long as the window of a compressor.
  const chunk = randomBytes(Math.min(CHUNK_BYTES, most.bytes));
  const until = clock.monotonic() + most.ms;
  let left = most.bytes;
  for (let now = clock.monotonic(); left > 0 && now < until; now = clock.monotonic()) {
    signal.throwIfAborted();
    const piece = left < chunk.byteLength ? chunk.subarray(0, left) : chunk;
    left -= piece.byteLength;
    if (!sink.write(piece)) await room(sink, until - now, clock, signal);
  }
  return most.bytes - left;
}

/** Waits until `sink` takes more, at most so long. */
async function room(sink: Writable, ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = clock.setTimeout(resolve, ms);
  const abort = () => reject(signal.reason);
  const closed = () => reject(sink.errored ?? new FairleadError('STREAM_INTERRUPTED', 'the reader is gone'));
  signal.addEventListener('abort', abort);
  sink.once('drain', resolve).once('close', closed);
  try {
    if (signal.aborted) abort();
    if (sink.destroyed) closed();
    await promise;
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', abort);
    sink.off('drain', resolve).off('close', closed);
  }
}
