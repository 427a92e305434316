/** What is said of work that goes on whoever listens: the last of it is kept, and who comes late or reads slowly gets that. */
import type { StackProgress } from '../../shared/messages/stack.ts';

const MAX_LINES = 1_000;

export class ProgressLog {
  readonly #lines: StackProgress[] = [];
  #dropped = 0;
  #isOver = false;
  #news = Promise.withResolvers<void>();

  add(step: string, line: string): void {
    this.#lines.push({ step, line: line.slice(0, 4096) });
    if (this.#lines.length > MAX_LINES) {
      this.#lines.shift();
      this.#dropped += 1;
    }
    this.#tell();
  }

  /** There will be no more. */
  end(): void {
    this.#isOver = true;
    this.#tell();
  }

  /** All that is kept, and what comes, until the end. Who stops reading ends nothing. @throws the signal's reason */
  async *read(signal: AbortSignal): AsyncGenerator<StackProgress> {
    const { promise: left, reject } = Promise.withResolvers<never>();
    left.catch(() => undefined);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort);
    try {
      let next = this.#dropped;
      for (;;) {
        signal.throwIfAborted();
        next = Math.max(next, this.#dropped);
        const line = this.#lines[next - this.#dropped];
        if (line !== undefined) {
          next += 1;
          yield line;
        } else if (this.#isOver) return;
        else await Promise.race([this.#news.promise, left]);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #tell(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }
}
