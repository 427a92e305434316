/** Which frame goes next: control first, interactive before bulk, and bulk keeps a tenth. Holds no clock and no socket. */
import { FRAME_PAYLOAD_BYTES } from '../limits.ts';
import type { Priority } from '../messages/kind.ts';

/** A frame ready for the transport. */
export interface OutFrame {
  readonly head: Uint8Array;
  readonly body?: Uint8Array | undefined;
  /** Called once the transport has taken the frame. */
  readonly sent?: (() => void) | undefined;
}

/** Something that has frames of one priority to send: a stream's body, or the session's signals. */
export interface Flow {
  readonly priority: Priority;
  /** Whether `next` has a frame that may go now. */
  readonly ready: boolean;
  next(): OutFrame;
  /** The scheduler's own: what the flow may send before it is the next one's turn, in bytes. */
  deficit: number;
  /** The scheduler's own: whether the flow stands in its class's ring. */
  waiting: boolean;
}

/** Bulk gets one byte for so many interactive ones when both have frames all the time: a tenth of all. */
const INTERACTIVE_PER_BULK = 9;

/**
 * What the network has room for: control frames always leave, interactive ones may go a little beyond what may be in
 * flight, so that a keystroke does not wait for bulk to arrive.
 */
export type Room = 'control' | 'interactive' | 'bulk';

export function frameBytes(frame: OutFrame): number {
  return frame.head.byteLength + (frame.body?.byteLength ?? 0);
}

/** Surplus round robin over the flows of one class: each sends while its deficit is positive, then waits a round. */
class Ring {
  readonly #flows: Flow[] = [];
  /** What a flow may send per round, in bytes: one full frame, so that flows get the same bytes whatever their frames. */
  quantum = FRAME_PAYLOAD_BYTES;

  add(flow: Flow): void {
    if (flow.waiting) return;
    flow.waiting = true;
    this.#flows.push(flow);
  }

  /** The flow whose turn it is; flows that have nothing to send any more leave the ring. */
  #turn(): Flow | undefined {
    for (;;) {
      const flow = this.#flows[0];
      if (flow === undefined) return undefined;
      if (!flow.ready) {
        this.#flows.shift();
        flow.waiting = false;
        flow.deficit = 0;
        continue;
      }
      if (flow.deficit > 0) return flow;
      flow.deficit += this.quantum;
      if (flow.deficit > 0) return flow;
      this.#rotate(flow);
    }
  }

  #rotate(flow: Flow): void {
    if (this.#flows.length === 1) return;
    this.#flows.shift();
    this.#flows.push(flow);
  }

  get ready(): boolean {
    return this.#turn() !== undefined;
  }

  next(): OutFrame | undefined {
    const flow = this.#turn();
    if (flow === undefined) return undefined;
    const frame = flow.next();
    flow.deficit -= frameBytes(frame);
    if (flow.deficit <= 0) this.#rotate(flow);
    return frame;
  }
}

export class Scheduler {
  #control: OutFrame[] = [];
  /** The next control frame in the queue; the ones before are gone. */
  #first = 0;
  #controlBytes = 0;
  /** Rings are made when first needed: most sessions are idle. */
  #interactive: Ring | undefined;
  #bulk: Ring | undefined;
  /** Bytes that interactive frames owe to bulk. */
  #owed = 0;
  #quantum = FRAME_PAYLOAD_BYTES;

  /** The payload of a full frame, by which flows take turns: smaller on a slow link. */
  set quantum(bytes: number) {
    if (bytes === this.#quantum) return;
    this.#quantum = bytes;
    if (this.#interactive !== undefined) this.#interactive.quantum = bytes;
    if (this.#bulk !== undefined) this.#bulk.quantum = bytes;
  }

  get controlFrames(): number {
    return this.#control.length - this.#first;
  }

  get controlBytes(): number {
    return this.#controlBytes;
  }

  /** Queues a control frame. The caller keeps the queue within its limits. */
  pushControl(frame: OutFrame): void {
    this.#control.push(frame);
    this.#controlBytes += frameBytes(frame);
  }

  /** Tells that a flow has frames to send. */
  wake(flow: Flow): void {
    if (flow.priority === 'interactive') {
      this.#interactive ??= this.#makeRing();
      this.#interactive.add(flow);
    } else {
      this.#bulk ??= this.#makeRing();
      this.#bulk.add(flow);
    }
  }

  #makeRing(): Ring {
    const ring = new Ring();
    ring.quantum = this.#quantum;
    return ring;
  }

  /** Whether a flow has frames to send, if there is room. */
  get bodyReady(): boolean {
    return this.#interactive?.ready === true || this.#bulk?.ready === true;
  }

  /** Whether there is a control frame, or a frame of a flow for which there is room. */
  ready(room: Room): boolean {
    return this.controlFrames > 0 || this.#turnOf(room) !== undefined;
  }

  nextControl(): OutFrame | undefined {
    const frame = this.#control[this.#first];
    if (frame === undefined) return undefined;
    this.#first += 1;
    this.#controlBytes -= frameBytes(frame);
    if (this.#first === this.#control.length) {
      this.#control = [];
      this.#first = 0;
    } else if (this.#first === 1024) {
      this.#control = this.#control.slice(this.#first);
      this.#first = 0;
    }
    return frame;
  }

  /** The class whose turn it is. What interactive frames owe to bulk may go beyond the limit as they did. */
  #turnOf(room: Room): Priority | undefined {
    if (room === 'control') return undefined;
    const bulkReady = this.#bulk?.ready === true;
    if (bulkReady && this.#owed >= this.#quantum) return 'bulk';
    if (this.#interactive?.ready === true) return 'interactive';
    return bulkReady && room === 'bulk' ? 'bulk' : undefined;
  }

  /** The next frame of a flow, as far as there is room. Control frames go before. */
  nextBody(room: Room): OutFrame | undefined {
    switch (this.#turnOf(room)) {
      case 'interactive': {
        const frame = this.#interactive?.next();
        if (frame !== undefined && this.#bulk?.ready === true) this.#owed += frameBytes(frame) / INTERACTIVE_PER_BULK;
        return frame;
      }
      case 'bulk': {
        const frame = this.#bulk?.next();
        if (frame !== undefined) this.#owed = Math.max(0, this.#owed - frameBytes(frame));
        return frame;
      }
      default:
        return undefined;
    }
  }

  /** Forgets everything that waits. */
  clear(): void {
    this.#control = [];
    this.#first = 0;
    this.#controlBytes = 0;
    this.#interactive = undefined;
    this.#bulk = undefined;
  }
}

/** A plain queue of frames as a flow of the interactive class: signals, which need no credit. */
export class FrameQueue implements Flow {
  readonly priority = 'interactive';
  deficit = 0;
  waiting = false;
  readonly #frames: OutFrame[] = [];

  get length(): number {
    return this.#frames.length;
  }

  get ready(): boolean {
    return this.#frames.length > 0;
  }

  push(frame: OutFrame): void {
    this.#frames.push(frame);
  }

  next(): OutFrame {
    const frame = this.#frames.shift();
    if (frame === undefined) throw new Error('a flow that is not ready was asked for a frame');
    return frame;
  }
}
