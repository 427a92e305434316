/** A body of so many bytes, as its sender said: one more would be read as the next request, one less never ends. */
import { Transform, type TransformCallback } from 'node:stream';
import { FairleadError } from './errors.ts';

/** Passes `bytes` bytes on; fails with VALIDATION when more come, or fewer. */
export class ExactLength extends Transform {
  #left: number;

  constructor(bytes: number) {
    super();
    this.#left = bytes;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#left -= chunk.byteLength;
    if (this.#left < 0) done(new FairleadError('VALIDATION', 'the body is longer than its Content-Length'));
    else done(null, chunk);
  }

  override _flush(done: TransformCallback): void {
    if (this.#left > 0) done(new FairleadError('VALIDATION', 'the body is shorter than its Content-Length'));
    else done();
  }
}
