/** A log that goes on where it stopped when it is opened again: what was given out already is left out. */
import { FairleadError } from '../errors.ts';
import { Demuxer, type OnOutput, type OutputStream } from './frames.ts';
import { isLater, MAX_TIMESTAMP_BYTES, sinceBefore, timestampBytes, USUAL_TIMESTAMP_BYTES } from './timestamps.ts';
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

/** The time of the last entry of one stream, and how many of that time there were. Nothing is allocated for an entry. */
class LastTime {
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

/** One of each stream. */
type LastTimes = readonly [LastTime, LastTime];
const noTimes = (): LastTimes => [new LastTime(), new LastTime()];

/**
 * Takes Docker's output with timestamps and gives it out as if it had never been interrupted. Docker keeps the order of a
 * log, so all up to the last entry that was given out is left out of what comes after `begin`; of that entry itself, as
 * many bytes as were given out.
 */
export class FollowedLog {
  readonly #options: FollowedLogOptions;
  #source: Demuxer | TtyEntries;
  readonly #times = noTimes();
  /** Of the entry that was begun last; undefined before there was one. */
  #stream: OutputStream | undefined;
  /** How long it is, where that is known, and how much of it was given out. */
  #bytes = 0;
  #given = 0;
  /** The latest time that was followed by an earlier one in its stream: a clock was set back. */
  #latestBefore = '';
  /** While what was given out before comes again: the times of that, and the latest that it can have. */
  #replay: { readonly times: LastTimes; readonly latest: string } | undefined;
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
    return this.#stream === undefined ? undefined : sinceBefore(this.#last(this.#stream).text, OVERLAP_MS);
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
    this.#replay = this.#stream === undefined ? undefined : { times: noTimes(), latest: this.#latest() };
  }

  /** @throws FairleadError DOCKER_ERROR for what is no output of Docker's, STREAM_INTERRUPTED if the rest of an entry is gone */
  push(chunk: Buffer): void {
    this.#source.push(chunk);
  }

  /** Says that the log has ended. @throws FairleadError STREAM_INTERRUPTED when that is in the middle of an entry */
  end(): void {
    this.#source.end();
    if (this.#replay !== undefined) this.#requireWhole();
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
    const length = timestampBytes(head);
    if (length === undefined && left > 0) {
      this.#head = Buffer.from(head);
      return;
    }
    this.#head = undefined;
    this.#skip = 0;
    this.#isDropping = false;
    if (!length) {
      this.#isUntimed = true;
      this.#options.emit(stream, head, true, left);
      return;
    }
    const text = head.subarray(length + 1);
    if (this.#isReplayed(stream, head, length, text.length + left)) {
      this.#give(stream, text, false, left);
      return;
    }
    this.#stream = stream;
    const later = this.#last(stream).next(head, length);
    if (later !== undefined && !isLater(this.#latestBefore, later)) this.#latestBefore = later;
    this.#bytes = text.length + left;
    this.#given = 0;
    if (this.#options.keepTimestamps) {
      this.#given = text.length;
      this.#options.emit(stream, head, true, left);
    } else {
      this.#give(stream, text, true, left);
    }
  }

  #last(stream: OutputStream): LastTime {
    return this.#times[stream === 1 ? 0 : 1];
  }

  #latest(): string {
    return [this.#times[0].text, this.#times[1].text].reduce(
      (latest, time) => (latest === '' || isLater(time, latest) ? time : latest),
      this.#latestBefore,
    );
  }

  /** Whether an entry is one that was given out, or begun; sets how much of it is left out. */
  #isReplayed(stream: OutputStream, head: Buffer, length: number, bytes: number): boolean {
    if (this.#replay === undefined || this.#stream === undefined) return false;
    const { times, latest } = this.#replay;
    const here = times[stream === 1 ? 0 : 1];
    here.next(head, length);
    const last = this.#last(this.#stream);
    if (stream === this.#stream && here.count === last.count && here.text === last.text) {
      this.#replay = undefined;
      if (!this.#options.tty && bytes !== this.#bytes) throw anotherLog();
      this.#skip = this.#given;
      return true;
    }
    if (isLater(here.text, latest)) {
      // What was given out last is no longer in the log, and this was certainly not.
      this.#replay = undefined;
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
