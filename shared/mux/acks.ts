/** `session.ack`: how much of what one end sent has arrived at the other, and how often it wants to hear of it. */
import { FairleadError } from '../errors.ts';
import { AckFrequencyValue, AckValue, MECHANICS } from '../messages/mechanics.ts';
import { fits } from '../validate.ts';
import { CONTROL_STREAM, encodeFrame } from './frame.ts';
import type { OutFrame } from './scheduler.ts';
import { violation } from './session-end.ts';
import type { SessionLimits } from './session-limits.ts';
import { decodeValue, encodeValue } from './values.ts';

/** An ack for each so small a part of what may be in flight keeps the rate exact, and the link from running dry. */
const FINEST_PART = 16;
/** An ack covers this much of what may be in flight at most, so that one always comes before the limit is reached. */
const COARSEST_PART = 4;

export class Acks {
  readonly #limits: SessionLimits;
  /** The total that the last ack told the peer. */
  #sent = 0;
  #queued = false;
  /** How often the peer wants an ack, in bytes. */
  #everyBytes: number;
  /** The total that the peer's last ack told. */
  #acked = 0;
  #ackedAt = 0;
  /** How often the peer was asked for one. */
  #askedBytes: number;

  constructor(limits: SessionLimits) {
    this.#limits = limits;
    this.#everyBytes = limits.ackEveryBytes;
    this.#askedBytes = limits.ackEveryBytes;
  }

  /** Bytes that the peer has acknowledged. */
  get acked(): number {
    return this.#acked;
  }

  /** When the last of them arrived, in ms by the peer's clock. */
  get ackedAt(): number {
    return this.#ackedAt;
  }

  /** Whether enough has come since the last ack for another. */
  isDue(bytesIn: number): boolean {
    return !this.#queued && bytesIn - this.#sent >= this.#everyBytes;
  }

  /**
   * The ack to send now, if half of what makes one due has come: others leave now, with which it costs nothing. One waits at most.
   * @param at when the last byte came, a monotonic time in ms
   * @param left called once it has left: what came while it waited may make another due
   */
  next(bytesIn: number, at: number, left: () => void): OutFrame | undefined {
    if (this.#queued || bytesIn - this.#sent < this.#everyBytes / 2) return undefined;
    this.#queued = true;
    this.#sent = bytesIn;
    const sent = () => {
      this.#queued = false;
      left();
    };
    return {
      head: this.#encode(MECHANICS['session.ack'], { bytes: bytesIn, at: Math.round(1000 * at) }, 'an ack'),
      sent,
    };
  }

  /** One such frame must not cost what a large message may. */
  get #decoding(): { depth: number; nodes: number } {
    const { depth, controlMessageNodes: nodes } = this.#limits;
    return { depth, nodes };
  }

  #encode(type: number, value: object, what: string): Uint8Array {
    const { messageBytes: bytes, depth, nodes } = this.#limits;
    return encodeFrame(type, CONTROL_STREAM, 0, encodeValue(value, { bytes, depth, nodes }, what));
  }

  /** Takes in the peer's ack. @throws FairleadError if it or its time falls, or if it speaks of bytes that were never sent */
  take(payload: Uint8Array, bytesOut: number): void {
    const value = decodeValue(payload, this.#decoding, 'an ack');
    if (!fits(AckValue, value)) throw new FairleadError('MESSAGE_INVALID', 'an ack does not fit its schema');
    if (value.bytes > bytesOut) throw violation('an ack of more bytes than were sent');
    if (value.bytes < this.#acked) throw violation('an ack that fell');
    if (value.at / 1000 < this.#ackedAt) throw violation('an ack from before the last one');
    this.#acked = value.bytes;
    this.#ackedAt = value.at / 1000;
  }

  /**
   * What to ask of the peer now, if what was asked no longer fits.
   * @param inFlightLimit what may be in flight, in bytes
   * @param msBytes what the link delivers in a ms, in bytes: acks that come more often cost more than they say
   */
  ask(inFlightLimit: number, msBytes: number): OutFrame | undefined {
    const { minAckEveryBytes, maxAckEveryBytes } = this.#limits;
    const wanted = Math.min(inFlightLimit / COARSEST_PART, Math.max(inFlightLimit / FINEST_PART, msBytes));
    const bytes = Math.round(Math.min(maxAckEveryBytes, Math.max(minAckEveryBytes, wanted)));
    const near = bytes < 2 * this.#askedBytes && bytes > this.#askedBytes / 2;
    if (near && this.#askedBytes <= inFlightLimit / 2) return undefined;
    if (bytes === this.#askedBytes) return undefined;
    this.#askedBytes = bytes;
    return { head: this.#encode(MECHANICS['session.ack.frequency'], { bytes }, 'an ack frequency') };
  }

  /** Takes in how often the peer wants an ack; this end keeps to its own bounds. */
  takeFrequency(payload: Uint8Array): void {
    const value = decodeValue(payload, this.#decoding, 'an ack frequency');
    if (!fits(AckFrequencyValue, value)) {
      throw new FairleadError('MESSAGE_INVALID', 'an ack frequency does not fit its schema');
    }
    const { minAckEveryBytes, maxAckEveryBytes } = this.#limits;
    this.#everyBytes = Math.min(maxAckEveryBytes, Math.max(minAckEveryBytes, value.bytes));
  }
}
