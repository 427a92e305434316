/** The pace at which an answer of a dialled agent is read. */
import type { Readable } from 'node:stream';
import { STREAM_BUFFER_BYTES } from './limits.ts';

/** Reads from the agent as long as a stream's reader keeps up: HTTP holds back the rest at its source. */
export class Pace {
  #source: Readable | undefined;
  #isHeldUp = false;

  /** Paces `source` from now on. */
  of(source: Readable): void {
    this.#source = source;
    if (this.#isHeldUp) source.pause();
  }

  set(_holder: unknown, bytes: number): void {
    const isHeldUp = bytes >= STREAM_BUFFER_BYTES;
    if (isHeldUp === this.#isHeldUp) return;
    this.#isHeldUp = isHeldUp;
    if (isHeldUp) this.#source?.pause();
    else this.#source?.resume();
  }
}
