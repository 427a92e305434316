/** What Compose says as it works: as much of it as its reader keeps up with, and the end of it for who asks why. */
import { MAX_PROGRESS_CHARS, type StackProgress } from '../messages/stack.ts';

/** Lines that wait to be sent. Who does not read must not hold up Compose. */
const MAX_WAITING = 500;
/** The last lines, for an error's text. */
const KEPT_LINES = 8;
const MAX_REASON_CHARS = 800;
/** How far things have come, as both sorts of Compose say it: no reason for a failure. */
const STATE = /^ (?:Container|Network|Volume|Image) |^\S+ .+ \.\.\.(?: done)?$/;

export class ProgressLines {
  readonly #send: (progress: StackProgress) => Promise<void>;
  readonly #mask: (text: string) => string;
  readonly #waiting: StackProgress[] = [];
  #last: string[] = [];
  #dropped = 0;
  #sending: Promise<void> | undefined;

  constructor(send: (progress: StackProgress) => Promise<void>, mask: (text: string) => string) {
    this.#send = send;
    this.#mask = mask;
  }

  /** Takes a line. Never throws. */
  add(step: string, line: string): void {
    // Masked as a whole: a part of a secret is known to nobody.
    const shown = this.#mask(line).trim().slice(0, MAX_PROGRESS_CHARS);
    if (!STATE.test(line)) this.#last = [...this.#last, shown].slice(-KEPT_LINES);
    if (this.#waiting.length >= MAX_WAITING) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push({ step, line: shown });
    this.#sending ??= this.#sendAll();
  }

  /** A new step begins: what was said before explains nothing of it. */
  begin(): void {
    this.#last = [];
  }

  /** What was said last that may tell why something failed, as one line. */
  get reason(): string {
    const text = this.#last.join(' | ');
    return text.length > MAX_REASON_CHARS ? `…${text.slice(-MAX_REASON_CHARS)}` : text;
  }

  /** Resolves once all has been sent that waits. Never rejects. */
  async sent(): Promise<void> {
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      try {
        await this.#send(next);
        if (this.#dropped > 0 && this.#waiting.length === 0) {
          const line = `(${this.#dropped} lines were left out: they came faster than they were read)`;
          this.#dropped = 0;
          await this.#send({ step: next.step, line });
        }
      } catch {
        // Nobody reads any more; the work tells by itself whether that ends it.
      }
    }
    this.#sending = undefined;
  }
}
