/** A log that goes on where it stopped when it is opened again: what was given out already is left out. */
import { FairleadError } from '../errors.ts';
import { Demuxer, type OnOutput, type OutputStream } from './frames.ts';
import { isLater, sinceBefore, timestampOf } from './timestamps.ts';
import { TtyEntries } from './tty-entries.ts';

/**
 * How far behind the last entry a log is opened again, in ms. Docker takes the time of an entry before it writes it, and
 * does so for both streams at once: one may stand behind an entry that is later.
 */
const OVERLAP_MS = 2_000;

export interface FollowedLogOptions {
  /** The output of a terminal, which has no frames. */
  readonly tty: boolean;
  /** Whether the timestamps, which the log must have, are given out too. */
  readonly keepTimestamps: boolean;
  readonly emit: OnOutput;
}

/** An entry of the log, among all of its stream with its time. */
interface Entry {
  readonly stream: OutputStream;
  readonly time: string;
  /** 1 for the first of that time. */
  readonly nth: number;
}

/** Counts, by stream, entries that share a time. */
class Counts {
  readonly #last: [Entry | undefined, Entry | undefined] = [undefined, undefined];

  next(stream: OutputStream, time: string): Entry {
    const last = this.#last[stream - 1];
    const entry = { stream, time, nth: last?.time === time ? last.nth + 1 : 1 };
    this.#last[stream - 1] = entry;
    return entry;
  }
}

/**
 * Takes Docker's output with timestamps and gives it out as if it had never been interrupted. Docker keeps the order of a
 * log, so all up to the last entry that was given out is left out of what comes after `begin`; of that entry itself, as
 * many bytes as were given out.
 */
export class FollowedLog {
  readonly #options: FollowedLogOptions;
  #source: Demuxer | TtyEntries;
  #counts = new Counts();
  /** The entry that was begun last, how long it is where that is known, and how much of it was given out. */
  #last: Entry | undefined;
  #bytes = 0;
  #given = 0;
  /** The latest time of all. */
  #latest = '';
  /** While what was given out before comes again. */
  #replayed: Counts | undefined;
  /** Bytes of the entry that are left out. */
  #skip = 0;
  #isDropping = false;
  /** The beginning of an entry whose time is not whole yet. */
  #head: Buffer | undefined;
  #isUntimed = false;

  constructor(options: FollowedLogOptions) {
    this.#options = options;
    this.#source = this.#newSource();
  }

  /** Since when the log is to be opened to go on, as Docker takes it; undefined before anything was given out. */
  get since(): string | undefined {
    return this.#last === undefined ? undefined : sinceBefore(this.#last.time, OVERLAP_MS);
  }

  /** Whether what was given out came without times: then nobody knows where to go on. */
  get isUntimed(): boolean {
    return this.#isUntimed;
  }

  /** Says that the log was opened again. */
  begin(): void {
    this.#source = this.#newSource();
    this.#head = undefined;
    this.#isDropping = false;
    this.#skip = 0;
    this.#replayed = this.#last === undefined ? undefined : new Counts();
  }

  /** @throws FairleadError DOCKER_ERROR for what is no output of Docker's, STREAM_INTERRUPTED if the rest of an entry is gone */
  push(chunk: Buffer): void {
    this.#source.push(chunk);
  }

  /** Says that the log has ended. @throws FairleadError STREAM_INTERRUPTED when that is in the middle of an entry */
  end(): void {
    this.#source.end();
    if (this.#replayed !== undefined) this.#requireWhole();
  }

  #newSource(): Demuxer | TtyEntries {
    const take: OnOutput = (stream, piece, isStart, left) => this.#take(stream, piece, isStart, left);
    return this.#options.tty ? new TtyEntries(take) : new Demuxer(take);
  }

  #take(stream: OutputStream, piece: Buffer, isStart: boolean, left: number): void {
    if (isStart || this.#head !== undefined) this.#begin(stream, piece, left);
    else this.#give(stream, piece, false, left);
  }

  #begin(stream: OutputStream, piece: Buffer, left: number): void {
    const head = this.#head === undefined ? piece : Buffer.concat([this.#head, piece]);
    const time = timestampOf(head);
    if (time === undefined && left > 0) {
      this.#head = Buffer.from(head);
      return;
    }
    this.#head = undefined;
    this.#skip = 0;
    this.#isDropping = false;
    if (!time) {
      this.#isUntimed = true;
      this.#options.emit(stream, head, true, left);
      return;
    }
    const text = head.subarray(Math.min(head.length, time.length + 1));
    if (this.#replayed !== undefined && this.#isReplayed(this.#replayed.next(stream, time), text.length + left)) {
      if (!this.#isDropping) this.#give(stream, text, false, left);
      return;
    }
    this.#last = this.#counts.next(stream, time);
    this.#bytes = text.length + left;
    this.#given = 0;
    if (this.#latest === '' || isLater(time, this.#latest)) this.#latest = time;
    if (this.#options.keepTimestamps) {
      this.#given = text.length;
      this.#options.emit(stream, head, true, left);
    } else {
      this.#give(stream, text, true, left);
    }
  }

  /** Whether an entry is one that was given out, or begun; sets how much of it is left out. */
  #isReplayed(entry: Entry, bytes: number): boolean {
    const last = this.#last as Entry;
    if (entry.stream === last.stream && entry.time === last.time && entry.nth === last.nth) {
      this.#replayed = undefined;
      if (!this.#options.tty && bytes !== this.#bytes) throw anotherLog();
      this.#skip = this.#given;
      return true;
    }
    if (isLater(entry.time, this.#latest)) {
      // What was given out last is no longer in the log, and this was certainly not.
      this.#replayed = undefined;
      this.#requireWhole();
      return false;
    }
    this.#isDropping = true;
    return true;
  }

  #give(stream: OutputStream, piece: Buffer, isStart: boolean, left: number): void {
    if (this.#isDropping) return;
    const skipped = Math.min(this.#skip, piece.length);
    this.#skip -= skipped;
    if (skipped === piece.length && !isStart) return;
    this.#given += piece.length - skipped;
    this.#options.emit(stream, skipped === 0 ? piece : piece.subarray(skipped), isStart, left);
  }

  #requireWhole(): void {
    if (!this.#options.tty && this.#given < this.#bytes) throw anotherLog();
  }
}

function anotherLog(): FairleadError {
  const detail = 'the log was cut in the middle of a line whose rest is no longer there: it was rotated meanwhile';
  return new FairleadError('STREAM_INTERRUPTED', detail);
}
