/** Takes counted bytes from a stream. */
import { unreadable } from './header.ts';

export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Up to `count` bytes, fewer only at the end. */
  async upTo(count: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.#next(count)) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  }

  /** @throws FairleadError VALIDATION if there are fewer */
  async exactly(count: number): Promise<Buffer> {
    const bytes = await this.upTo(count);
    if (bytes.length < count) throw unreadable('it ends too early');
    return bytes;
  }

  /** As they come, `count` bytes in all. @throws FairleadError VALIDATION if there are fewer */
  async *take(count: number): AsyncGenerator<Buffer> {
    let left = count;
    for await (const chunk of this.#next(count)) {
      left -= chunk.length;
      yield chunk;
    }
    if (left > 0) throw unreadable('it ends too early');
  }

  /** All that is left. */
  rest(): AsyncGenerator<Buffer> {
    return this.#next(Number.POSITIVE_INFINITY);
  }

  /** @throws FairleadError VALIDATION if anything is left */
  async end(): Promise<void> {
    if ((await this.upTo(1)).length > 0) throw unreadable('there is more in it than its manifest says');
  }

  async *#next(count: number): AsyncGenerator<Buffer> {
    let left = count;
    while (left > 0) {
      if (this.#held.length === 0) {
        const { done, value } = await this.#source.next();
        if (done) return;
        this.#held = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      }
      const chunk = this.#held.subarray(0, left);
      this.#held = this.#held.subarray(chunk.length);
      left -= chunk.length;
      if (chunk.length > 0) yield chunk;
    }
  }
}
