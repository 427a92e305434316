/** Bytes that come at the pace of their sender and are read at that of their reader; in between they are held and counted. */
import { Duplex } from 'node:stream';
import { FairleadError } from '../../shared/errors.ts';
import { codeOf } from '../../shared/mux/stream-error.ts';
import { PRESSING } from '../../shared/stacks/docker-reader.ts';
import { Backlog, PIECE_BYTES } from './backlog.ts';
import type { InboundGate } from './inbound-gate.ts';
import { SOFT_BUFFER_BYTES } from './limits.ts';
import type { WholeAnswers } from './whole-answers.ts';

/** Counts what a stream holds. */
type Gate = Pick<InboundGate, 'set'>;

/** For a stream without bytes. */
const NO_GATE: Gate = { set: () => undefined };

/** Takes what is written into the stream; unless given, nothing may be. */
export interface Sink {
  write(bytes: Buffer, done: (error?: Error) => void): void;
  end(done: (error?: Error) => void): void;
}

export class HeldBytes extends Duplex {
  readonly #gate: Gate;
  readonly #onDestroy: () => void;
  readonly #sink: Sink | undefined;
  /** What has come and is handed on piece by piece. */
  readonly #backlog = new Backlog();
  /** Whether the reader has asked for more than it got. */
  #isWanted = false;
  #isScheduled = false;
  #isFinished = false;
  #isEnded = false;
  #counted = 0;

  /** @param onDestroy called once, unless all that came was an end */
  constructor(gate: Gate, onDestroy: () => void, sink?: Sink) {
    super({ readableHighWaterMark: PIECE_BYTES, autoDestroy: true });
    this.#gate = gate;
    this.#onDestroy = onDestroy;
    this.#sink = sink;
    // Whoever reads is told as well; without a reader it is no reason to end the process.
    this.on('error', () => undefined);
  }

  /** A stream of no bytes. */
  static none(): HeldBytes {
    const held = new HeldBytes(NO_GATE, () => undefined);
    held.finish();
    return held;
  }

  /** All of what came in one message. @throws FairleadError OVERLOADED if too much of that sort is not read yet */
  static of(wholes: WholeAnswers, bytes: Buffer): HeldBytes {
    const held = new HeldBytes(wholes, () => undefined);
    wholes.require(bytes.byteLength);
    held.receiveWhole(bytes);
    held.finish();
    return held;
  }

  /** What came in one message, as the only one: it is handed on at the reader's pace, and counted until then. */
  receiveWhole(bytes: Buffer): void {
    if (this.destroyed || this.#isFinished) return;
    this.#backlog.addWhole(bytes);
    this.#arrived();
  }

  /** Bytes have come. */
  receive(chunk: Buffer): void {
    if (this.destroyed || this.#isFinished || chunk.byteLength === 0) return;
    this.#backlog.add(chunk);
    this.#arrived();
  }

  /** No more bytes come. */
  finish(): void {
    if (this.destroyed || this.#isFinished) return;
    this.#isFinished = true;
    this.#endOnce();
  }

  /** Whether so much waits that the host's other streams are held up soon. Says so by an event when that begins. */
  get isPressing(): boolean {
    return this.#counted > SOFT_BUFFER_BYTES / 2;
  }

  /** Whether all that is to come has come, and was handed on. */
  get hasFinished(): boolean {
    return this.#isFinished && this.#backlog.length === 0;
  }

  /** The reader is too slow. */
  fail(error: FairleadError): void {
    this.destroy(error);
  }

  override _read(): void {
    this.#isWanted = true;
    this.#handOn();
  }

  override read(size?: number): unknown {
    const chunk: unknown = super.read(size);
    this.#count();
    return chunk;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    if (chunk.byteLength === 0) done();
    else if (this.#sink === undefined)
      done(new FairleadError('UNSUPPORTED', 'an agent of Hawser takes no bytes on this stream'));
    else this.#sink.write(chunk, done);
  }

  override _final(done: (error?: Error) => void): void {
    if (this.#sink === undefined) done();
    else this.#sink.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#backlog.clear();
    this.#gate.set(this, 0);
    if (!this.#isFinished) this.#onDestroy();
    // Reading with `for await` to the end destroys a Duplex with an AbortError while it could still be written to.
    done(this.readableEnded && codeOf(error) === 'ABORT_ERR' ? null : error);
  }

  /** Messages that came together are read as one: an agent sends each line of a log in one of its own. */
  #arrived(): void {
    const isMuch = this.readableLength + this.#backlog.length - this.#counted >= PIECE_BYTES;
    if (!this.#isWanted || isMuch) this.#count();
    if (!this.#isWanted || this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(() => {
      this.#isScheduled = false;
      this.#handOn();
    });
  }

  #handOn(): void {
    while (this.#isWanted && !this.destroyed) {
      const piece = this.#backlog.take();
      if (piece === undefined) break;
      this.#isWanted = this.push(piece);
    }
    this.#endOnce();
    this.#count();
  }

  #endOnce(): void {
    if (!this.hasFinished || this.#isEnded || this.destroyed) return;
    this.#isEnded = true;
    this.push(null);
  }

  #count(): void {
    if (this.destroyed) return;
    const wasPressing = this.isPressing;
    this.#counted = this.readableLength + this.#backlog.length;
    if (this.isPressing && !wasPressing) this.emit(PRESSING);
    this.#gate.set(this, this.#counted);
  }
}
