/** Output cut into lines: per stream, with bounded length, safe for UTF-8 and with Docker's timestamps taken off. */
import type { OutputStream } from './frames.ts';

/** One line of a container's output. */
export interface LogRecord {
  stream: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds, as Docker wrote it. */
  time?: string;
  /** Without its line end. Bytes that are not UTF-8 become U+FFFD. */
  line: string;
  /** The line was longer than the limit and goes on in the next record of its stream. */
  partial?: true;
}

export interface LineOptions {
  /** The output of a terminal: one stream without frames, lines that end in CR LF. */
  tty: boolean;
  /** Docker was asked for timestamps. */
  timestamps: boolean;
  /** Longer lines come in several records. */
  maxLineBytes?: number;
}

/** The longest line of one record. */
export const MAX_LINE_BYTES = 64 * 1024;
/** The longest timestamp that is looked for, its space included. */
const MAX_TIMESTAMP_BYTES = 40;
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;

/** The unfinished line of one stream. */
class Line {
  readonly #name: LogRecord['stream'];
  readonly #options: LineOptions;
  readonly #maxBytes: number;
  readonly #emit: (record: LogRecord) => void;
  /** A copy of what came of the line, so that a slow line does not hold every chunk that it came in. */
  #buffer = Buffer.alloc(0);
  #bytes = 0;
  #inLine = false;
  #time: string | undefined;
  /** What may be a timestamp and is not complete yet. */
  #prefix: Buffer | undefined;

  constructor(name: LogRecord['stream'], options: LineOptions, emit: (record: LogRecord) => void) {
    this.#name = name;
    this.#options = options;
    this.#maxBytes = Math.max(options.maxLineBytes ?? MAX_LINE_BYTES, 4);
    this.#emit = emit;
  }

  push(chunk: Buffer, frameStart: boolean): void {
    const { timestamps, tty } = this.#options;
    // Docker puts a timestamp before each entry of its log; a line of more than 16 KiB is several entries.
    if (frameStart && timestamps) this.#startPrefix();
    let at = 0;
    while (at < chunk.length) {
      if (!this.#inLine && timestamps && tty) this.#startPrefix();
      this.#inLine = true;
      const lf = chunk.indexOf(LF, at);
      const end = lf === -1 ? chunk.length : lf;
      const rest = this.#takePrefix(chunk.subarray(at, end));
      if (lf === -1) this.#append(rest);
      else this.#finish(rest);
      at = end + 1;
    }
  }

  /** Emits a last line that has no line end. */
  end(): void {
    if (this.#inLine) this.#finish(Buffer.alloc(0));
  }

  #startPrefix(): void {
    this.#flushPrefix();
    this.#prefix = Buffer.alloc(0);
  }

  /** Takes a timestamp off the front, if one is due, and returns what is text. */
  #takePrefix(piece: Buffer): Buffer {
    const before = this.#prefix;
    if (before === undefined) return piece;
    const seen = Buffer.concat([before, piece.subarray(0, MAX_TIMESTAMP_BYTES)]);
    const space = seen.indexOf(SPACE);
    if (space === -1 && seen.length < MAX_TIMESTAMP_BYTES) {
      this.#prefix = seen;
      return piece.subarray(piece.length);
    }
    const time = seen.toString('latin1', 0, Math.max(space, 0));
    if (!TIMESTAMP.test(time)) {
      this.#flushPrefix();
      return piece;
    }
    this.#prefix = undefined;
    this.#time ??= time;
    return piece.subarray(space + 1 - before.length);
  }

  /** What was held back as a timestamp is text after all. */
  #flushPrefix(): void {
    const prefix = this.#prefix;
    this.#prefix = undefined;
    if (prefix !== undefined) this.#append(prefix);
  }

  #append(piece: Buffer): void {
    let rest = piece;
    while (this.#bytes + rest.length > this.#maxBytes) {
      rest = rest.subarray(this.#hold(rest));
      this.#split();
    }
    this.#hold(rest);
  }

  /** Copies as much of `piece` as there is room for and says how much. */
  #hold(piece: Buffer): number {
    const needed = Math.min(this.#bytes + piece.length, this.#maxBytes);
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(this.#maxBytes, Math.max(needed, 2 * this.#buffer.length)));
      this.#buffer.copy(grown, 0, 0, this.#bytes);
      this.#buffer = grown;
    }
    const held = piece.copy(this.#buffer, this.#bytes, 0, needed - this.#bytes);
    this.#bytes += held;
    return held;
  }

  /** Emits a full buffer as a partial record, without cutting a UTF-8 character in two. */
  #split(): void {
    const cut = characterBoundary(this.#buffer.subarray(0, this.#bytes));
    this.#record(this.#buffer.subarray(0, cut), true);
    this.#bytes = this.#buffer.copy(this.#buffer, 0, cut, this.#bytes);
  }

  /** Ends the line with its last piece, which is not copied when it is the whole line. */
  #finish(last: Buffer): void {
    this.#flushPrefix();
    let whole = last;
    if (this.#bytes > 0 || last.length > this.#maxBytes) {
      this.#append(last);
      whole = this.#buffer.subarray(0, this.#bytes);
    }
    if (this.#options.tty && whole.at(-1) === CR) whole = whole.subarray(0, -1);
    this.#record(whole, false);
    this.#bytes = 0;
    this.#time = undefined;
    this.#inLine = false;
  }

  #record(text: Buffer, partial: boolean): void {
    const record: LogRecord =
      this.#time === undefined
        ? { stream: this.#name, line: text.toString() }
        : { stream: this.#name, time: this.#time, line: text.toString() };
    if (partial) record.partial = true;
    this.#emit(record);
  }
}

/** Where to cut so that no character that is begun but not complete stays before the cut. */
function characterBoundary(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back < bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** Cuts output into records. Each stream keeps its own unfinished line. */
export class LineSplitter {
  readonly #lines: readonly [Line, Line];

  constructor(options: LineOptions, emit: (record: LogRecord) => void) {
    this.#lines = [new Line('stdout', options, emit), new Line('stderr', options, emit)];
  }

  push(stream: OutputStream, chunk: Buffer, frameStart: boolean): void {
    this.#lines[stream - 1]?.push(chunk, frameStart);
  }

  /** Emits last lines without a line end. */
  end(): void {
    for (const line of this.#lines) line.end();
  }
}
