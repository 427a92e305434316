/**
 * Bytes that wait for their reader, kept in few and large pieces. Whoever sends them decides how small they are: kept as they
 * come, lines of a log would take many times their bytes, and each would travel on by itself.
 */
import { Gathered } from '../../shared/gathered.ts';

/** The largest piece that is handed on. */
export const PIECE_BYTES = 64 * 1024;

export class Backlog {
  #pieces: Buffer[] = [];
  readonly #last = new Gathered(PIECE_BYTES);
  #length = 0;

  /** How many bytes wait. */
  get length(): number {
    return this.#length;
  }

  /** Copies what has come. */
  add(bytes: Buffer): void {
    this.#length += bytes.byteLength;
    for (let at = 0; at < bytes.byteLength; ) {
      const before = this.#last.length;
      this.#last.add(at === 0 ? bytes : bytes.subarray(at));
      at += this.#last.length - before;
      if (this.#last.length === PIECE_BYTES) this.#turnOver();
    }
  }

  /** Keeps what came as one, without a copy. */
  addWhole(bytes: Buffer): void {
    if (this.#last.length > 0) this.#turnOver();
    this.#length += bytes.byteLength;
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
      this.#pieces.push(bytes.subarray(at, at + PIECE_BYTES));
    }
  }

  /** The next piece; undefined if nothing waits. */
  take(): Buffer | undefined {
    if (this.#pieces.length === 0 && this.#last.length > 0) this.#turnOver();
    const piece = this.#pieces.shift();
    this.#length -= piece?.byteLength ?? 0;
    return piece;
  }

  clear(): void {
    this.#pieces = [];
    this.#last.clear();
    this.#length = 0;
  }

  #turnOver(): void {
    this.#pieces.push(this.#last.bytes());
    this.#last.clear();
  }
}
