/** A change of a stack that its host has taken on, until it has ended. */
import type { FairleadError } from '../../shared/errors.ts';
import type { StackProgress } from '../../shared/messages/stack.ts';

/** What of a stream it needs. */
interface ProgressStream {
  items(): AsyncIterable<StackProgress>;
  reset(error: FairleadError): void;
}

export class RunningChange<T> {
  /** The version of the host's Compose. */
  readonly compose: string;
  /** What comes of it, once all is done and written down. */
  readonly done: Promise<T>;
  readonly #stream: ProgressStream;
  readonly #left: () => FairleadError;

  /** @param left makes the error with which it ends when its reader leaves */
  constructor(compose: string, done: Promise<T>, stream: ProgressStream, left: () => FairleadError) {
    this.compose = compose;
    this.done = done;
    this.#stream = stream;
    this.#left = left;
    // Whoever reads the progress meets the same error; who does neither has left.
    done.catch(() => undefined);
  }

  /** What Compose says meanwhile. To be iterated once; who stops early ends the change. @throws what it fails with */
  async *progress(): AsyncGenerator<StackProgress> {
    let isWhole = false;
    try {
      yield* this.#stream.items();
      isWhole = true;
    } finally {
      if (!isWhole) this.#stream.reset(this.#left());
    }
  }

  /** Waits for its end, whatever is said meanwhile. @throws what it fails with */
  async finish(): Promise<T> {
    for await (const _progress of this.progress());
    return await this.done;
  }
}
