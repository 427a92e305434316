/**
 * What is typed into a terminal, as frames that an agent of Hawser keeps in order: it handles each by itself, so that those that
 * come at once change places. What comes meanwhile goes as one frame.
 */
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Sink } from './held-bytes.ts';
import { INPUT_BUFFER_BYTES, INPUT_FRAME_BYTES, INPUT_GAP_MS } from './limits.ts';

const END_OF_INPUT = Buffer.from([0x04]);

type Done = (error?: Error) => void;

export class TerminalInput implements Sink {
  readonly #clock: Clock;
  readonly #send: (frame: Buffer) => void;
  #waiting: Buffer[] = [];
  #bytes = 0;
  #timer: Timer | undefined;
  /** Writers that wait for room, and for the end. */
  #blocked: Done | undefined;
  #ending: Done | undefined;
  #isStopped = false;

  /** @param send may throw: whoever writes is told then */
  constructor(clock: Clock, send: (frame: Buffer) => void) {
    this.#clock = clock;
    this.#send = send;
  }

  write(bytes: Buffer, done: Done): void {
    this.#waiting.push(bytes);
    this.#bytes += bytes.byteLength;
    if (this.#bytes < INPUT_BUFFER_BYTES) done();
    else this.#blocked = done;
    this.#flush();
  }

  /** A terminal has no end of its input but a key. */
  end(done: Done): void {
    this.#waiting.push(END_OF_INPUT);
    this.#bytes += END_OF_INPUT.byteLength;
    this.#ending = done;
    this.#flush();
  }

  /** Sends no more of what waits. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#waiting = [];
  }

  #flush(): void {
    if (this.#timer !== undefined || this.#isStopped) return;
    if (this.#bytes > 0) {
      const all = Buffer.concat(this.#waiting, this.#bytes);
      const frame = all.subarray(0, INPUT_FRAME_BYTES);
      const rest = all.subarray(frame.byteLength);
      this.#waiting = rest.byteLength === 0 ? [] : [rest];
      this.#bytes = rest.byteLength;
      try {
        this.#send(frame);
      } catch (error) {
        return void this.#settle(error instanceof Error ? error : new Error(String(error)));
      }
      this.#timer = this.#clock.setTimeout(() => {
        this.#timer = undefined;
        this.#flush();
      }, INPUT_GAP_MS);
    }
    this.#settle();
  }

  #settle(error?: Error): void {
    if (error !== undefined || this.#bytes < INPUT_BUFFER_BYTES) {
      const blocked = this.#blocked;
      this.#blocked = undefined;
      blocked?.(error);
    }
    if (error !== undefined || this.#bytes === 0) {
      const ending = this.#ending;
      this.#ending = undefined;
      ending?.(error);
    }
  }
}
