/** The sending end of a session: takes frames from the scheduler as long as the transport wants some. */
import type { Clock, Timer } from '../clock.ts';
import type { InFlight } from './in-flight.ts';
import { type Flow, frameBytes, type OutFrame, type Room, Scheduler } from './scheduler.ts';
import type { SessionLimits } from './session-limits.ts';
import type { Transport } from './transport.ts';

/** Frames per turn of the event loop, so that one session does not hold up thousands of others. */
const FRAMES_PER_TURN = 64;

/** What a writer works with besides its transport. */
export interface WriterOptions {
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly inFlight: InFlight;
  /** An ack to send along with other credit, if one is due. */
  nextAck(): OutFrame | undefined;
  /** More control frames wait than a peer that reads could cause. */
  onOverflow(): void;
}

export class Writer {
  readonly #scheduler = new Scheduler();
  readonly #transport: Transport;
  readonly #options: WriterOptions;
  #scheduled = false;
  #creditScheduled = false;
  #writing = false;
  #stopped = false;
  #blockedAt: number | undefined;
  #pace: Timer | undefined;
  #blockedMs = 0;
  #bytes = 0;
  #frames = 0;

  constructor(transport: Transport, options: WriterOptions) {
    this.#transport = transport;
    this.#options = options;
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
    return this.#blockedMs + this.#options.clock.monotonic() - this.#blockedAt;
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
   * Queues a window. It leaves once all that the kernel has for us is read, together with the others and the ack that
   * this causes: a write for each would cost more than the bytes that it acknowledges.
   */
  queueCredit(frame: OutFrame): void {
    if (this.#pushControl(frame)) this.scheduleAck();
  }

  /** Asks for an ack, and sends it together with the windows. */
  scheduleAck(): void {
    if (this.#creditScheduled || this.#stopped) return;
    this.#creditScheduled = true;
    setImmediate(() => {
      this.#creditScheduled = false;
      if (this.#stopped) return;
      const ack = this.#options.nextAck();
      if (ack !== undefined) this.#pushControl(ack);
      this.#turn();
    });
  }

  #pushControl(frame: OutFrame): boolean {
    if (this.#stopped) return false;
    const { queuedControlFrames, queuedControlBytes } = this.#options.limits;
    if (this.#scheduler.controlFrames >= queuedControlFrames || this.#scheduler.controlBytes >= queuedControlBytes) {
      this.#options.onOverflow();
      return false;
    }
    this.#scheduler.pushControl(frame);
    return true;
  }

  /** Whether the control queue takes so many bytes more; half of it is kept for what the session itself must say. */
  hasControlRoom(bytes: number): boolean {
    const { queuedControlFrames, queuedControlBytes } = this.#options.limits;
    const { controlFrames, controlBytes } = this.#scheduler;
    return controlFrames < queuedControlFrames / 2 && controlBytes + bytes < queuedControlBytes / 2;
  }

  /** A flow has frames to send. */
  wake(flow: Flow): void {
    if (this.#stopped) return;
    this.#scheduler.wake(flow);
    this.#schedule();
  }

  /** The peer has acknowledged some of what was in flight. */
  acknowledged(): void {
    if (this.#scheduler.ready(this.#roomNow())) this.#schedule();
  }

  /** What may leave now; where bulk has only to wait for its pace, it is woken in time. */
  #roomNow(): Room {
    const { clock, inFlight } = this.#options;
    if (!inFlight.hasBulkRoom) return inFlight.hasInteractiveRoom ? 'interactive' : 'control';
    const waitMs = inFlight.waitMs(clock.monotonic());
    if (waitMs === 0) return 'bulk';
    this.#pace ??= clock.setTimeout(() => {
      this.#pace = undefined;
      this.#turn();
    }, waitMs);
    return 'interactive';
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
    this.#blockedMs += this.#options.clock.monotonic() - this.#blockedAt;
    this.#blockedAt = undefined;
    this.#turn();
  }

  #turn(): void {
    if (this.#stopped || this.#writing || this.#blockedAt !== undefined) return;
    this.#writing = true;
    this.#transport.cork();
    this.#scheduler.quantum = this.#options.inFlight.payloadBytes;
    try {
      let left = FRAMES_PER_TURN;
      while (this.#blockedAt === undefined && left > 0) {
        const control = this.#scheduler.nextControl();
        const frame = control ?? this.#scheduler.nextBody(this.#roomNow());
        if (frame === undefined) break;
        left -= 1;
        this.#write(frame, control === undefined);
      }
    } finally {
      this.#writing = false;
      this.#transport.uncork();
    }
    if (this.#stopped || this.#blockedAt !== undefined) return;
    const { inFlight } = this.#options;
    // With all in flight that may be, it is the link that limits, whether or not more waits just now.
    if (!this.#scheduler.bodyReady && inFlight.hasBulkRoom) inFlight.ranDry();
    if (this.#scheduled || !this.#scheduler.ready(this.#roomNow())) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  #write(frame: OutFrame, body = false): void {
    const { clock, inFlight } = this.#options;
    const bytes = frameBytes(frame);
    this.#bytes += bytes;
    this.#frames += 1;
    inFlight.sent(bytes, body, clock.monotonic());
    const more = this.#transport.send(frame.head, frame.body);
    if (!more) this.#blockedAt ??= clock.monotonic();
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
    if (this.#blockedAt !== undefined) this.#blockedMs += this.#options.clock.monotonic() - this.#blockedAt;
    this.#blockedAt = undefined;
    this.#stopped = true;
    this.#pace?.cancel();
    this.#scheduler.clear();
  }
}
