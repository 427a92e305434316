/** Finds the entries of a terminal's log, which has no frames, by the times that Docker puts before them. */
import type { OnOutput } from './frames.ts';
import { MAX_TIMESTAMP_BYTES, timestampBytes } from './timestamps.ts';

const LF = 0x0a;
/** Docker cuts no line into several entries that is not longer. */
const SHORTEST_CUT_BYTES = 1024;

/**
 * Incremental parser of raw output with timestamps. An entry is a line, or a part of one that Docker has cut: all parts of a
 * line have the line's own time before them, which nothing in it can know beforehand.
 */
export class TtyEntries {
  readonly #emit: OnOutput;
  /** What begins an entry and is too short yet to tell its time. */
  #head = Buffer.alloc(0);
  #inHead = true;
  /** The line's timestamp with its space, for the parts that follow; empty if it has none. */
  #mark = Buffer.alloc(0);
  /** The last bytes of a long line, which may be the beginning of a mark. */
  #tail = Buffer.alloc(0);
  /** Bytes of the line behind its first mark. */
  #bytes = 0;

  constructor(emit: OnOutput) {
    this.#emit = emit;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const lf = chunk.indexOf(LF, at);
      const end = lf === -1 ? chunk.length : lf + 1;
      const piece = chunk.subarray(at, end);
      if (this.#inHead) this.#begin(piece, lf !== -1);
      else this.#goOn(piece, lf !== -1);
      at = end;
    }
  }

  /** Says that no more bytes come. */
  end(): void {
    if (this.#head.length > 0) this.#emit(1, this.#head, true, 0);
    if (this.#tail.length > 0) this.#emit(1, this.#tail, false, 0);
    this.#head = Buffer.alloc(0);
    this.#tail = Buffer.alloc(0);
  }

  #begin(piece: Buffer, isEnd: boolean): void {
    const head = this.#head.length === 0 ? piece : Buffer.concat([this.#head, piece]);
    const length = timestampBytes(head);
    if (length === undefined && !isEnd) {
      this.#head = Buffer.from(head);
      return;
    }
    this.#head = Buffer.alloc(0);
    this.#mark = length ? Buffer.from(head.subarray(0, length + 1)) : Buffer.alloc(0);
    this.#bytes = 0;
    this.#inHead = isEnd;
    if (head.length <= SHORTEST_CUT_BYTES) {
      this.#bytes = head.length - this.#mark.length;
      this.#emit(1, head, true, 0);
      return;
    }
    const first = this.#mark.length === 0 ? head.length : this.#mark.length;
    this.#emit(1, head.subarray(0, first), true, 0);
    if (first < head.length) this.#goOn(head.subarray(first), isEnd);
  }

  #goOn(piece: Buffer, isEnd: boolean): void {
    this.#bytes += piece.length;
    if (this.#mark.length === 0 || this.#bytes <= SHORTEST_CUT_BYTES) this.#emit(1, piece, false, 0);
    else this.#search(this.#tail.length === 0 ? piece : Buffer.concat([this.#tail, piece]), isEnd);
    this.#inHead = isEnd;
  }

  /** Passes a long line on, cut before each mark; the last bytes wait as long as they may begin one. */
  #search(bytes: Buffer, isEnd: boolean): void {
    let at = 0;
    for (let mark = bytes.indexOf(this.#mark); mark !== -1; mark = bytes.indexOf(this.#mark, at)) {
      if (mark > at) this.#emit(1, bytes.subarray(at, mark), false, 0);
      this.#emit(1, this.#mark, true, 0);
      at = mark + this.#mark.length;
    }
    const kept = isEnd ? 0 : Math.min(bytes.length - at, mayBegin(bytes, this.#mark));
    if (bytes.length - kept > at) this.#emit(1, bytes.subarray(at, bytes.length - kept), false, 0);
    this.#tail = kept === 0 ? Buffer.alloc(0) : Buffer.from(bytes.subarray(bytes.length - kept));
  }
}

/** How many of the last bytes are the beginning of `mark`. */
function mayBegin(bytes: Buffer, mark: Buffer): number {
  for (let count = Math.min(bytes.length, mark.length - 1, MAX_TIMESTAMP_BYTES); count > 0; count--) {
    if (bytes.subarray(bytes.length - count).equals(mark.subarray(0, count))) return count;
  }
  return 0;
}
