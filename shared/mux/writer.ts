/** The sending end of a session: takes frames from the scheduler as long as the transport wants some. */
import type { Clock } from '../clock.ts';
import { frameBytes, type OutFrame, Scheduler } from './scheduler.ts';
import type { Transport } from './transport.ts';

/** Frames per turn of the event loop, so that one session does not hold up thousands of others. */
const FRAMES_PER_TURN = 64;

export class Writer {
  readonly scheduler = new Scheduler();
  readonly #transport: Transport;
  readonly #clock: Clock;
  #scheduled = false;
  #writing = false;
  #stopped = false;
  #blockedAt: number | undefined;
  #blockedMs = 0;
  #bytes = 0;
  #frames = 0;

  constructor(transport: Transport, clock: Clock) {
    this.#transport = transport;
    this.#clock = clock;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get frames(): number {
    return this.#frames;
  }

  /** Time in which the transport took no more, in ms. */
  get blockedMs(): number {
    if (this.#blockedAt === undefined) return this.#blockedMs;
    return this.#blockedMs + this.#clock.monotonic() - this.#blockedAt;
  }

  /** Sends at the end of this turn, so that all small frames of the turn leave in one write. */
  schedule(): void {
    if (this.#scheduled || this.#stopped || this.#blockedAt !== undefined) return;
    this.#scheduled = true;
    process.nextTick(() => this.#turn());
  }

  /** The transport wants more. */
  drained(): void {
    if (this.#blockedAt === undefined) return;
    this.#blockedMs += this.#clock.monotonic() - this.#blockedAt;
    this.#blockedAt = undefined;
    this.#turn();
  }

  #turn(): void {
    this.#scheduled = false;
    if (this.#stopped || this.#writing || this.#blockedAt !== undefined) return;
    this.#writing = true;
    this.#transport.cork();
    try {
      let left = FRAMES_PER_TURN;
      while (this.#blockedAt === undefined && left > 0) {
        const frame = this.scheduler.next();
        if (frame === undefined) break;
        left -= 1;
        this.#write(frame);
      }
    } finally {
      this.#writing = false;
      this.#transport.uncork();
    }
    if (this.#stopped || this.#scheduled || this.#blockedAt !== undefined || !this.scheduler.ready) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #write(frame: OutFrame): void {
    this.#bytes += frameBytes(frame);
    this.#frames += 1;
    const more = this.#transport.send(frame.head, frame.body);
    if (!more) this.#blockedAt ??= this.#clock.monotonic();
    frame.sent?.();
  }

  /** Sends one frame ahead of everything, whether or not the transport is blocked: the last word before a close. */
  sendNow(head: Uint8Array): void {
    if (!this.#stopped) this.#write({ head });
  }

  /** Sends all control frames that wait, whether or not the transport is blocked. */
  flushControl(): void {
    for (let frame = this.scheduler.nextControl(); frame !== undefined; frame = this.scheduler.nextControl()) {
      this.#write(frame);
    }
  }

  /** Sends nothing more and forgets what waits. */
  stop(): void {
    if (this.#stopped) return;
    if (this.#blockedAt !== undefined) this.#blockedMs += this.#clock.monotonic() - this.#blockedAt;
    this.#blockedAt = undefined;
    this.#stopped = true;
    this.scheduler.clear();
  }
}
