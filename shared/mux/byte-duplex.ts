/** A stream's bytes as a Node Duplex. Credit goes back as the application takes bytes, not as Node buffers them. */
import { Duplex } from 'node:stream';

/** The stream behind the Duplex. */
export interface ByteSource {
  nextChunk(): Uint8Array | undefined;
  /** Whether no chunk will come after the queued ones. */
  readonly inboundEnded: boolean;
  taken(bytes: number): void;
  write(chunks: readonly Uint8Array[], sent: (error?: Error) => void): void;
  endWriting(sent: (error?: Error) => void): void;
  /** The application has destroyed the Duplex. Does nothing once the stream is closed. */
  abandoned(error: Error | null): void;
}

/** What an application may write ahead before `write` answers false. */
const WRITE_AHEAD_BYTES = 256 * 1024;

export class ByteDuplex extends Duplex {
  readonly #source: ByteSource;
  #wanted = false;
  #pushed = 0;
  #counted = 0;

  constructor(source: ByteSource, directions: { readable: boolean; writable: boolean }) {
    // No read-ahead: what Node holds has not been taken by the application, and must not earn credit.
    super({ ...directions, readableHighWaterMark: 0, writableHighWaterMark: WRITE_AHEAD_BYTES });
    this.#source = source;
    // An interrupted stream whose bytes nobody looks at is no reason to end the process: `closed` tells of it too.
    this.on('error', () => undefined);
  }

  /** Hands on what has come, as far as the application wants it. */
  deliver(): void {
    while (this.#wanted && !this.destroyed) {
      const chunk = this.#source.nextChunk();
      if (chunk === undefined) {
        if (!this.#source.inboundEnded) return;
        this.#wanted = false;
        this.push(null);
        return;
      }
      this.#pushed += chunk.byteLength;
      this.#wanted = this.push(chunk);
      this.#countTaken();
    }
  }

  #countTaken(): void {
    const taken = this.#pushed - this.readableLength;
    const fresh = taken - this.#counted;
    if (fresh <= 0) return;
    this.#counted = taken;
    this.#source.taken(fresh);
  }

  /** What a reader takes earns its credit at once: Node may have asked for more before, and not ask again. */
  override read(size?: number): unknown {
    const chunk: unknown = super.read(size);
    this.#countTaken();
    return chunk;
  }

  override _read(): void {
    this.#wanted = true;
    this.deliver();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#source.write([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer; encoding: BufferEncoding }[], done: (error?: Error | null) => void): void {
    this.#source.write(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#source.endWriting(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#source.abandoned(error);
    done(error);
  }
}
