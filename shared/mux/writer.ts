/** The sending end of a session: takes frames from the scheduler as long as the transport wants some. */
import type { Clock } from '../clock.ts';
import { type Flow, frameBytes, type OutFrame, Scheduler } from './scheduler.ts';
import type { SessionLimits } from './session-limits.ts';
import type { Transport } from './transport.ts';

/** Frames per turn of the event loop, so that one session does not hold up thousands of others. */
const FRAMES_PER_TURN = 64;

export class Writer {
  readonly #scheduler = new Scheduler();
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #limits: SessionLimits;
  /** Called when more control frames wait than a peer that reads could cause. */
  readonly #onOverflow: () => void;
  #scheduled = false;
  #creditScheduled = false;
  #writing = false;
  #stopped = false;
  #blockedAt: number | undefined;
  #blockedMs = 0;
  #bytes = 0;
  #frames = 0;

  constructor(transport: Transport, clock: Clock, limits: SessionLimits, onOverflow: () => void) {
    this.#transport = transport;
    this.#clock = clock;
    this.#limits = limits;
    this.#onOverflow = onOverflow;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get frames(): number {
    return this.#frames;
  }

  /** Frames of streams' bodies alone. */
  get bodyFrames(): number {
    return this.#scheduler.bodyFrames;
  }

  /** Time in which the transport took no more, in ms. */
  get blockedMs(): number {
    if (this.#blockedAt === undefined) return this.#blockedMs;
    return this.#blockedMs + this.#clock.monotonic() - this.#blockedAt;
  }

  /** Bytes of control frames that wait. */
  get controlBytes(): number {
    return this.#scheduler.controlBytes;
  }

  /** Queues a frame of the control class. */
  queueControl(frame: OutFrame): void {
    if (this.#pushControl(frame)) this.#schedule();
  }

  /**
   * Queues a window or an ack. It leaves once all that the kernel has for us is read, together with the others that
   * this causes: a write for each would cost more than the bytes that it acknowledges.
   */
  queueCredit(frame: OutFrame): void {
    if (!this.#pushControl(frame) || this.#creditScheduled) return;
    this.#creditScheduled = true;
    setImmediate(() => {
      this.#creditScheduled = false;
      this.#turn();
    });
  }

  #pushControl(frame: OutFrame): boolean {
    if (this.#stopped) return false;
    const { queuedControlFrames, queuedControlBytes } = this.#limits;
    if (this.#scheduler.controlFrames >= queuedControlFrames || this.#scheduler.controlBytes >= queuedControlBytes) {
      this.#onOverflow();
      return false;
    }
    this.#scheduler.pushControl(frame);
    return true;
  }

  /** Whether the control queue takes so many bytes more; half of it is kept for what the session itself must say. */
  hasControlRoom(bytes: number): boolean {
    const { queuedControlFrames, queuedControlBytes } = this.#limits;
    const { controlFrames, controlBytes } = this.#scheduler;
    return controlFrames < queuedControlFrames / 2 && controlBytes + bytes < queuedControlBytes / 2;
  }

  /** A flow has frames to send. */
  wake(flow: Flow): void {
    if (this.#stopped) return;
    this.#scheduler.wake(flow);
    this.#schedule();
  }

  /** Sends at the end of this turn, so that all small frames of the turn leave in one write. */
  #schedule(): void {
    if (this.#scheduled || this.#stopped || this.#blockedAt !== undefined) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  /** The transport wants more. */
  drained(): void {
    if (this.#blockedAt === undefined) return;
    this.#blockedMs += this.#clock.monotonic() - this.#blockedAt;
    this.#blockedAt = undefined;
    this.#turn();
  }

  #turn(): void {
    if (this.#stopped || this.#writing || this.#blockedAt !== undefined) return;
    this.#writing = true;
    this.#transport.cork();
    try {
      let left = FRAMES_PER_TURN;
      while (this.#blockedAt === undefined && left > 0) {
        const frame = this.#scheduler.next();
        if (frame === undefined) break;
        left -= 1;
        this.#write(frame);
      }
    } finally {
      this.#writing = false;
      this.#transport.uncork();
    }
    if (this.#stopped || this.#scheduled || this.#blockedAt !== undefined || !this.#scheduler.ready) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  #write(frame: OutFrame): void {
    this.#bytes += frameBytes(frame);
    this.#frames += 1;
    const more = this.#transport.send(frame.head, frame.body);
    if (!more) this.#blockedAt ??= this.#clock.monotonic();
    frame.sent?.();
  }

  /** Drops what waits and sends one frame, whether or not the transport is blocked: the last word before a close. */
  sendLast(head: Uint8Array): void {
    if (this.#stopped) return;
    this.#scheduler.clear();
    this.#write({ head });
  }

  /** Sends all control frames that wait, whether or not the transport is blocked. */
  flushControl(): void {
    for (let frame = this.#scheduler.nextControl(); frame !== undefined; frame = this.#scheduler.nextControl()) {
      this.#write(frame);
    }
  }

  /** Sends nothing more and forgets what waits. */
  stop(): void {
    if (this.#stopped) return;
    if (this.#blockedAt !== undefined) this.#blockedMs += this.#clock.monotonic() - this.#blockedAt;
    this.#blockedAt = undefined;
    this.#stopped = true;
    this.#scheduler.clear();
  }
}
