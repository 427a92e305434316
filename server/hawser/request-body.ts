/** The body of a request to Docker, taken in whole, since an agent of Hawser takes no other. */
import { Writable } from 'node:stream';
import { FairleadError } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';

/** As base64 it is a third more, and has to fit into one message. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;

export class RequestBody extends Writable {
  readonly #gathered = new Gathered(MAX_BODY_BYTES);
  readonly #done = Promise.withResolvers<Buffer>();

  constructor() {
    super();
    this.#done.promise.catch(() => undefined);
  }

  /** The body, once it is there. @throws FairleadError PAYLOAD_TOO_LARGE, what it breaks off with, the reason of `signal` */
  async whole(signal: AbortSignal | undefined): Promise<Buffer> {
    const onAbort = () => this.destroy(signal?.reason);
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await this.#done.promise;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    if (!this.#gathered.add(chunk)) {
      done(new FairleadError('PAYLOAD_TOO_LARGE', `a host of Hawser takes bodies of ${MAX_BODY_BYTES} bytes at most`));
      return;
    }
    done();
  }

  override _final(done: (error?: Error) => void): void {
    this.#done.resolve(this.#gathered.bytes());
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#done.reject(error ?? new FairleadError('STREAM_INTERRUPTED', 'the body of the request broke off'));
    // Whoever waits for the body is told; nobody listens here.
    done();
  }
}
