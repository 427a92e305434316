/** A link, and a sender behind its in-flight control, on a fake clock: what the control law does, to the byte and the ms. */
import { Acks } from '../../shared/mux/acks.ts';
import { FRAME_HEADER_BYTES } from '../../shared/mux/frame.ts';
import { InFlight } from '../../shared/mux/in-flight.ts';
import { type Flow, frameBytes, type OutFrame, Scheduler } from '../../shared/mux/scheduler.ts';
import { DEFAULT_LIMITS } from '../../shared/mux/session-limits.ts';
import type { FakeClock } from './fake-clock.ts';

/** Bytes per ms of one Mbit/s. */
export const MBIT = 125;
/** What leaves the link at once: a change of its rate or a freeze takes hold in the middle of a frame. */
const PACKET_BYTES = 1_400;
/** What TLS, WebSocket and TCP add to a frame, in bytes. */
const OVERHEAD_BYTES = 60;

interface Travelling {
  readonly bytes: number;
  readonly arrived: () => void;
}

/** One direction: frames leave one after the other at the link's rate, and arrive after its delay. Its queue has no end. */
export class SimulatedWay {
  readonly #clock: FakeClock;
  /** Bytes per ms. */
  rate: number;
  delayMs: number;
  #queue: Travelling[] = [];
  #queuedBytes = 0;
  #leaving = false;
  #frozen = false;
  #onThaw: (() => void) | undefined;

  constructor(clock: FakeClock, rate: number, delayMs: number) {
    this.#clock = clock;
    this.rate = rate;
    this.delayMs = delayMs;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    const onThaw = this.#onThaw;
    this.#onThaw = undefined;
    onThaw?.();
  }

  send(bytes: number, arrived: () => void): void {
    this.#queue.push({ bytes: bytes + OVERHEAD_BYTES, arrived });
    this.#queuedBytes += bytes + OVERHEAD_BYTES;
    if (!this.#leaving) this.#next();
  }

  #next(): void {
    const frame = this.#queue.shift();
    this.#leaving = frame !== undefined;
    if (frame !== undefined) this.#leave(frame, frame.bytes);
  }

  #leave(frame: Travelling, left: number): void {
    if (this.#frozen) {
      this.#onThaw = () => this.#leave(frame, left);
      return;
    }
    if (left > 0) {
      const packet = Math.min(PACKET_BYTES, left);
      this.#clock.setTimeout(() => {
        this.#queuedBytes -= packet;
        this.#leave(frame, left - packet);
      }, packet / this.rate);
      return;
    }
    this.#clock.setTimeout(frame.arrived, this.delayMs);
    this.#next();
  }
}

interface SimulatedFrame extends OutFrame {
  readonly flow: SimulatedFlow;
}

/** A stream that has bytes to send: without end, or as they are added. */
export class SimulatedFlow implements Flow {
  readonly priority: 'interactive' | 'bulk';
  deficit = 0;
  waiting = false;
  /** Bytes that wait to be sent. */
  backlog: number;
  /** Bytes that have arrived. */
  arrived = 0;
  onArrived: (() => void) | undefined;
  readonly #payload: () => number;

  constructor(priority: 'interactive' | 'bulk', backlog: number, payload: () => number) {
    this.priority = priority;
    this.backlog = backlog;
    this.#payload = payload;
  }

  get ready(): boolean {
    return this.backlog > 0;
  }

  next(): SimulatedFrame {
    const bytes = Math.min(this.backlog, this.#payload());
    this.backlog -= bytes;
    return { head: new Uint8Array(FRAME_HEADER_BYTES), body: { byteLength: bytes } as Uint8Array, flow: this };
  }
}

/** The sending side of a session as far as the network is concerned, and the acks of the other. */
export class SimulatedSender {
  readonly inFlight = new InFlight();
  readonly #clock: FakeClock;
  readonly #way: SimulatedWay;
  readonly #back: SimulatedWay;
  readonly #scheduler = new Scheduler();
  readonly #acks = new Acks(DEFAULT_LIMITS);
  readonly #peerAcks = new Acks(DEFAULT_LIMITS);
  /** By how much the peer's clock differs, in ms. */
  readonly #peerClockMs: number;
  #sent = 0;
  #received = 0;
  #receivedAt = 0;
  #paced = false;

  constructor(clock: FakeClock, way: SimulatedWay, back: SimulatedWay, peerClockMs = 123_456) {
    this.#clock = clock;
    this.#way = way;
    this.#back = back;
    this.#peerClockMs = peerClockMs;
  }

  flow(priority: 'interactive' | 'bulk', backlog = Number.POSITIVE_INFINITY): SimulatedFlow {
    const flow = new SimulatedFlow(priority, backlog, () => this.inFlight.payloadBytes);
    this.wake(flow);
    return flow;
  }

  wake(flow: SimulatedFlow): void {
    this.#scheduler.wake(flow);
    this.#send();
  }

  /** Bytes that have arrived at the other end, headers included. */
  get received(): number {
    return this.#received;
  }

  #send(): void {
    this.#scheduler.quantum = this.inFlight.payloadBytes;
    for (;;) {
      const now = this.#clock.monotonic();
      let room: 'control' | 'interactive' | 'bulk' = this.inFlight.hasInteractiveRoom ? 'interactive' : 'control';
      if (this.inFlight.hasBulkRoom) {
        const waitMs = this.inFlight.waitMs(now);
        if (waitMs === 0) room = 'bulk';
        else this.#sendIn(waitMs);
      }
      const frame = this.#scheduler.nextBody(room);
      if (frame === undefined) break;
      this.#transmit(frame as SimulatedFrame, now);
    }
    if (!this.#scheduler.bodyReady && this.inFlight.hasBulkRoom) this.inFlight.ranDry();
  }

  #sendIn(waitMs: number): void {
    if (this.#paced) return;
    this.#paced = true;
    // As late as Node's timers are.
    this.#clock.setTimeout(() => {
      this.#paced = false;
      this.#send();
    }, Math.ceil(waitMs) + 0.5);
  }

  #transmit(frame: SimulatedFrame, now: number): void {
    const bytes = frameBytes(frame);
    this.#sent += bytes;
    this.inFlight.sent(bytes, true, now);
    this.#way.send(bytes, () => {
      this.#received += bytes;
      this.#receivedAt = this.#clock.monotonic() + this.#peerClockMs;
      frame.flow.arrived += frame.body?.byteLength ?? 0;
      frame.flow.onArrived?.();
      this.#acknowledge();
    });
  }

  #acknowledge(): void {
    if (!this.#peerAcks.isDue(this.#received)) return;
    const frame = this.#peerAcks.next(this.#received, this.#receivedAt, () => undefined);
    if (frame === undefined) return;
    frame.sent?.();
    this.#back.send(frameBytes(frame), () => this.#acked(frame.head.subarray(FRAME_HEADER_BYTES)));
  }

  #acked(payload: Uint8Array): void {
    const { inFlight } = this;
    this.#acks.take(payload, this.#sent);
    inFlight.acked(this.#acks.acked, this.#acks.ackedAt, this.#clock.monotonic());
    const question = this.#acks.ask(inFlight.inFlightLimit, inFlight.bytesPerMs);
    if (question !== undefined) {
      this.#way.send(frameBytes(question), () => {
        this.#peerAcks.takeFrequency(question.head.subarray(FRAME_HEADER_BYTES));
        this.#acknowledge();
      });
    }
    this.#send();
  }
}
