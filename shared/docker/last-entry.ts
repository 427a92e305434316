/** By what the last entry of a log that was given out is known again: its time, its place in that time, and its text. */
import { MAX_TIMESTAMP_BYTES, USUAL_TIMESTAMP_BYTES } from './timestamps.ts';

/** The time of the last entry of one stream, and how many of that time there were. Nothing is allocated for an entry. */
export class LastTime {
  readonly #bytes = Buffer.alloc(MAX_TIMESTAMP_BYTES);
  #length = 0;
  /** 1 for the first entry of the time. */
  count = 0;

  get text(): string {
    return this.#bytes.toString('latin1', 0, this.#length);
  }

  /** Takes the time of the next entry, the first bytes of `head`. @returns the one before if that was later */
  next(head: Buffer, length: number): string | undefined {
    const before = this.#bytes;
    const isComparable = length === USUAL_TIMESTAMP_BYTES && this.#length === length;
    let at = 0;
    while (at < length && before[at] === head[at]) at++;
    if (at === length && this.#length === length) {
      this.count++;
      return undefined;
    }
    const isBack = isComparable ? (before[at] ?? 0) > (head[at] ?? 0) : this.#length > 0;
    const later = isBack ? this.text : undefined;
    head.copy(before, 0, 0, length);
    this.#length = length;
    this.count = 1;
    return later;
  }
}

/** How much of an entry's text is kept: as much as Docker puts into one. */
const MAX_KEPT_BYTES = 16 * 1024;
const KEPT_BYTES = 256;

/** What was given out of the text of one entry; only its beginning, should it be longer than Docker makes any. */
export class GivenText {
  /** Used again and again; it grows with the longest entry. */
  #kept = Buffer.alloc(KEPT_BYTES);
  /** How many bytes were given out. */
  length = 0;

  clear(): void {
    this.length = 0;
  }

  add(piece: Buffer): void {
    const end = Math.min(this.length + piece.length, MAX_KEPT_BYTES);
    if (end > this.#kept.length) {
      const larger = Buffer.alloc(Math.min(MAX_KEPT_BYTES, 2 * end));
      this.#kept.copy(larger, 0, 0, this.length);
      this.#kept = larger;
    }
    if (end > this.length) piece.copy(this.#kept, this.length, 0, end - this.length);
    this.length += piece.length;
  }

  /** Whether `piece`, which stands at `at` in the text of an entry, is what was given out from there on. */
  has(piece: Buffer, at: number): boolean {
    const end = Math.min(at + piece.length, this.length, MAX_KEPT_BYTES);
    return end <= at || this.#kept.compare(piece, 0, end - at, at, end) === 0;
  }
}
