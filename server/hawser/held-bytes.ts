/** Bytes that come at the pace of their sender and are read at that of their reader; in between they are held and counted. */
import { Duplex } from 'node:stream';
import { FairleadError } from '../../shared/errors.ts';
import type { InboundGate } from './inbound-gate.ts';
import type { WholeAnswers } from './whole-answers.ts';

/** Counts what a stream holds. */
type Gate = Pick<InboundGate, 'set'>;

/** A reader gets small pieces as one, each of them one message of 4 KiB, and what came whole in pieces. */
const PIECE_BYTES = 64 * 1024;
const NOTHING = Buffer.alloc(0);
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
  #rest: Buffer = NOTHING;
  #isFinished = false;

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
    this.#rest = bytes;
    this.#count();
    this.#pushPiece();
  }

  /** Bytes have come. */
  receive(chunk: Buffer): void {
    if (this.destroyed || this.#isFinished || chunk.byteLength === 0) return;
    this.push(chunk);
    this.#count();
  }

  /** No more bytes come. */
  finish(): void {
    if (this.destroyed || this.#isFinished) return;
    this.#isFinished = true;
    if (this.#rest.byteLength === 0) this.push(null);
  }

  /** Whether all that is to come has come. */
  get hasFinished(): boolean {
    return this.#isFinished;
  }

  /** The reader is too slow. */
  fail(error: FairleadError): void {
    this.destroy(error);
  }

  override _read(): void {
    this.#pushPiece();
    this.#count();
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
    this.#rest = NOTHING;
    this.#gate.set(this, 0);
    if (!this.#isFinished) this.#onDestroy();
    done(error);
  }

  #pushPiece(): void {
    if (this.#rest.byteLength === 0) return;
    const piece = this.#rest.subarray(0, PIECE_BYTES);
    this.#rest = this.#rest.subarray(PIECE_BYTES);
    this.push(piece);
    if (this.#isFinished && this.#rest.byteLength === 0) this.push(null);
  }

  #count(): void {
    if (!this.destroyed) this.#gate.set(this, this.readableLength + this.#rest.byteLength);
  }
}
