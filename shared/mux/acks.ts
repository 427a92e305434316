/** `session.ack`: how much of what one end sent has arrived at the other. */
import { FairleadError } from '../errors.ts';
import { AckValue, MECHANICS } from '../messages/mechanics.ts';
import { fits } from '../validate.ts';
import { CONTROL_STREAM, encodeFrame } from './frame.ts';
import type { OutFrame } from './scheduler.ts';
import { violation } from './session-end.ts';
import type { SessionLimits } from './session-limits.ts';
import { decodeValue, encodeValue } from './values.ts';

export class Acks {
  readonly #limits: SessionLimits;
  #sent = 0;
  #sentAt = 0;
  #queued = false;
  #acked = 0;

  constructor(limits: SessionLimits) {
    this.#limits = limits;
  }

  /** Bytes that the peer has acknowledged. */
  get acked(): number {
    return this.#acked;
  }

  /**
   * The ack to send now, if enough has come since the last; one waits at most.
   * @param now a monotonic time in ms
   * @param withOthers whether other control frames leave now, with which an ack costs nothing
   */
  due(bytesIn: number, now: number, withOthers: boolean): OutFrame | undefined {
    const fresh = bytesIn - this.#sent;
    const { ackBytes, ackAtOnceBytes, ackIntervalMs } = this.#limits;
    if (this.#queued || fresh < ackBytes) return undefined;
    if (fresh < ackAtOnceBytes && !withOthers && now - this.#sentAt < ackIntervalMs) return undefined;
    this.#sentAt = now;
    this.#queued = true;
    this.#sent = bytesIn;
    const { messageBytes: bytes, depth, nodes } = this.#limits;
    const payload = encodeValue({ bytes: bytesIn }, { bytes, depth, nodes }, 'an ack');
    const sent = () => {
      this.#queued = false;
    };
    return { head: encodeFrame(MECHANICS['session.ack'], CONTROL_STREAM, 0, payload), sent };
  }

  /** Takes in the peer's ack. @throws FairleadError if it falls, or speaks of bytes that were never sent */
  take(payload: Uint8Array, bytesOut: number): void {
    const value = decodeValue(payload, this.#limits, 'an ack');
    if (!fits(AckValue, value)) throw new FairleadError('MESSAGE_INVALID', 'an ack does not fit its schema');
    if (value.bytes > bytesOut) throw violation('an ack of more bytes than were sent');
    if (value.bytes < this.#acked) throw violation('an ack that fell');
    this.#acked = value.bytes;
  }
}
