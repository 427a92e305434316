/** Bytes that come at the pace of their sender and are read at that of their reader; in between they are held and counted. */
import { Duplex } from 'node:stream';
import { FairleadError } from '../../shared/errors.ts';
import type { InboundGate } from './inbound-gate.ts';

/** Counts what a stream holds. */
type Gate = Pick<InboundGate, 'set'>;

/** For what came in one message: it is there already, and no larger than a message. */
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
  #isFinished = false;

  /** @param onDestroy called once, unless all that came was an end */
  constructor(gate: Gate, onDestroy: () => void, sink?: Sink) {
    // A reader gets small pieces as one: each chunk is one message of 4 KiB.
    super({ readableHighWaterMark: 64 * 1024, autoDestroy: true });
    this.#gate = gate;
    this.#onDestroy = onDestroy;
    this.#sink = sink;
    // Whoever reads is told as well; without a reader it is no reason to end the process.
    this.on('error', () => undefined);
  }

  /** For bytes that come in one message. */
  static ungated(): HeldBytes {
    return new HeldBytes(NO_GATE, () => undefined);
  }

  /** All of what came in one message. */
  static of(bytes?: Buffer): HeldBytes {
    const held = HeldBytes.ungated();
    if (bytes !== undefined) held.receive(bytes);
    held.finish();
    return held;
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
    this.push(null);
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
    this.#gate.set(this, 0);
    if (!this.#isFinished) this.#onDestroy();
    done(error);
  }

  #count(): void {
    if (!this.destroyed) this.#gate.set(this, this.readableLength);
  }
}
