/** A log that goes on where it stopped when it is opened again: what was given out already is left out. */
import { FairleadError } from '../errors.ts';
import { Demuxer, type OnOutput, type OutputStream } from './frames.ts';
import { GivenText, LastTime } from './last-entry.ts';
import { isLater, sinceBefore, timeAfter, timestampBytes } from './timestamps.ts';
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
  /** Only the end of the log was asked for: what stands before that may come when it is opened again. */
  readonly isTail?: boolean | undefined;
  /**
   * Goes on where the place at which the log was interrupted is no longer in it. Without this, that is a failure.
   * @param after the time of the last entry that was given out, or begun
   */
  readonly onGap?: ((after: string) => void) | undefined;
}

/** One of each stream. */
type LastTimes = readonly [LastTime, LastTime];
const noTimes = (): LastTimes => [new LastTime(), new LastTime()];

/**
 * Takes Docker's output with timestamps and gives it out as if it had never been interrupted. Docker keeps the order of a
 * log, so all up to the last entry that was given out is left out of what comes after `begin`; of that entry itself, as
 * many bytes as were given out. When that entry is no longer there, the log was rotated meanwhile, and has a gap.
 */
export class FollowedLog {
  readonly #options: FollowedLogOptions;
  #source: Demuxer | TtyEntries;
  readonly #times = noTimes();
  /** Of the entry that was begun last; undefined before there was one. */
  #stream: OutputStream | undefined;
  /** How long its text is, where that is known, and what was given out of it. */
  #bytes = 0;
  readonly #given = new GivenText();
  /** The time of the first entry. */
  #first = '';
  /** The latest time that was followed by an earlier one in its stream: a clock was set back. */
  #latestBefore = '';
  /** While what was given out before comes again: the times of that, and the latest that it can have. */
  #replay: { readonly times: LastTimes; readonly latest: string } | undefined;
  /** How far an entry that may be the last one agrees with what was given out; undefined for any other. */
  #compared: number | undefined;
  #isDropping = false;
  /** The beginning of an entry whose time is not whole yet, or stands alone. */
  #head: Buffer | undefined;
  #isUntimed = false;
  #isBroken = false;

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

  /** Whether the place where it is to go on is gone: opening it again does not help. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Says that the log was opened again. */
  begin(): void {
    this.#source = this.#newSource();
    this.#head = undefined;
    this.#isDropping = false;
    this.#compared = undefined;
    this.#replay = this.#stream === undefined ? undefined : { times: noTimes(), latest: this.#latest() };
  }

  /** @throws FairleadError DOCKER_ERROR for what is no output of Docker's, and for a gap */
  push(chunk: Buffer): void {
    this.#source.push(chunk);
  }

  /** Says that the log has ended. @throws FairleadError STREAM_INTERRUPTED in the middle of a frame, DOCKER_ERROR for a gap */
  end(): void {
    this.#source.end();
    if (this.#replay !== undefined) this.#tellGap();
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
    // Without a byte of its text nobody would know it again among others of its time and length.
    if ((length === undefined || (length > 0 && head.length === length + 1)) && left > 0) {
      this.#head = Buffer.from(head);
      return;
    }
    this.#head = undefined;
    this.#compared = undefined;
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
    if (this.#stream === undefined) this.#first = head.toString('latin1', 0, length);
    this.#stream = stream;
    const later = this.#last(stream).next(head, length);
    if (later !== undefined && !isLater(this.#latestBefore, later)) this.#latestBefore = later;
    this.#bytes = text.length + left;
    this.#given.clear();
    if (this.#options.keepTimestamps) {
      this.#given.add(text);
      this.#options.emit(stream, head, true, left);
    } else {
      this.#give(stream, text, true, left);
    }
  }

  #last(stream: OutputStream): LastTime {
    return this.#times[stream === 1 ? 0 : 1];
  }

  /** The latest time that an entry can have which comes before the last. */
  #latest(): string {
    // Before the first entry of a tail may stand one of the other stream that is a little later.
    const unseen = this.#options.isTail ? timeAfter(this.#first, OVERLAP_MS) : '';
    return [this.#times[0].text, this.#times[1].text, unseen].reduce(
      (latest, time) => (latest === '' || isLater(time, latest) ? time : latest),
      this.#latestBefore,
    );
  }

  /** Whether an entry is one that was given out, or begun: it is left out, or compared with the last. */
  #isReplayed(stream: OutputStream, head: Buffer, length: number, bytes: number): boolean {
    if (this.#replay === undefined || this.#stream === undefined) return false;
    const { times, latest } = this.#replay;
    const here = times[stream === 1 ? 0 : 1];
    here.next(head, length);
    const last = this.#last(this.#stream);
    // A tail may have begun within a long line, whose parts have one time: then more of them may come before the last.
    const isPlace = this.#options.isTail ? here.count >= last.count : here.count === last.count;
    const mayBeLast = stream === this.#stream && isPlace && here.text === last.text;
    if (mayBeLast && (this.#options.tty || bytes === this.#bytes)) {
      this.#compared = 0;
      return true;
    }
    if (isLater(here.text, latest)) {
      // What was given out last is no longer in the log, and this was certainly not.
      this.#tellGap();
      return false;
    }
    this.#isDropping = true;
    return true;
  }

  #give(stream: OutputStream, piece: Buffer, isStart: boolean, left: number): void {
    const rest = this.#compared === undefined ? piece : this.#compare(piece, this.#compared);
    if (this.#isDropping || (rest.length === 0 && !isStart)) return;
    this.#given.add(rest);
    this.#options.emit(stream, rest, isStart, left);
  }

  /** Takes what was given out already off a piece of what may be the last entry. Once that is complete, it is. */
  #compare(piece: Buffer, at: number): Buffer {
    const known = piece.subarray(0, this.#given.length - at);
    if (!this.#given.has(known, at)) {
      this.#isDropping = true;
      return piece;
    }
    const isLast = at + known.length === this.#given.length;
    this.#compared = isLast ? undefined : at + known.length;
    if (isLast) this.#replay = undefined;
    return piece.subarray(known.length);
  }

  #tellGap(): void {
    const { onGap } = this.#options;
    const after = this.#stream === undefined ? '' : this.#last(this.#stream).text;
    this.#replay = undefined;
    this.#isBroken = onGap === undefined;
    if (onGap === undefined) throw new FairleadError('DOCKER_ERROR', gapDetail(after));
    onGap(after);
  }
}

/** What is said of a gap. */
export function gapDetail(after: string): string {
  return `what the log had after ${after} is not whole: it was rotated while the host or the server was away`;
}
