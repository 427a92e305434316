/** What one stream has to send: bytes and messages in order, within the peer's credit, and END at last. */
import type { Priority } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { Packer } from './deflate.ts';
import { DEFLATE_FROM_BYTES } from './deflate-policy.ts';
import { creditLeft, raiseLimit, type SendCredit } from './flow.ts';
import { encodeDataHead, encodeHeader, FLAGS } from './frame.ts';
import { callAll, type Entry, payloadOf, remaining, type Sent, waitingBytes } from './outbox-entries.ts';
import type { Flow, OutFrame } from './scheduler.ts';
import type { StreamHost } from './stream-host.ts';

/** Chunks below this are copied together into one frame when they wait side by side. */
const MERGE_BELOW_BYTES = 8 * 1024;
const EMPTY = new Uint8Array(0);

export type { Sent } from './outbox-entries.ts';

export class Outbox implements Flow {
  readonly priority: Priority;
  deficit = 0;
  waiting = false;
  readonly #host: StreamHost;
  readonly #id: number;
  readonly #credit: SendCredit;
  readonly #compressible: boolean;
  #packer: Packer | undefined;
  /** Called as END leaves. */
  readonly #onEnd: () => void;
  #entries: Entry[] = [];
  #queuedBytes = 0;
  /** Until the acceptor's reply has been queued nothing may overtake it. */
  #held: boolean;
  #end: 'no' | 'wanted' | 'sent' = 'no';
  #endSent: Sent | undefined;
  #starvedAt: number | undefined;

  constructor(
    host: StreamHost,
    id: number,
    options: { priority: Priority; limit: number; held: boolean; compressible?: boolean },
    onEnd: () => void,
  ) {
    this.#host = host;
    this.#id = id;
    this.priority = options.priority;
    this.#credit = { limit: options.limit, sent: 0 };
    this.#held = options.held;
    this.#compressible = options.compressible === true;
    this.#onEnd = onEnd;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Offsets of body bytes, for tests and figures. */
  get credit(): Readonly<SendCredit> {
    return this.#credit;
  }

  get endWanted(): boolean {
    return this.#end !== 'no';
  }

  /** Queues raw bytes as `stream.data`; `sent` is called after the last of the chunks. */
  pushBytes(chunks: readonly Uint8Array[], sent: Sent): void {
    const last = chunks.length - 1;
    for (const [index, bytes] of chunks.entries()) {
      this.#push({
        type: MECHANICS['stream.data'],
        bytes,
        offset: 0,
        needsCredit: true,
        sent: index === last ? sent : undefined,
      });
    }
    this.#wake();
  }

  /** Queues one encoded message, which leaves in as many frames as it takes. */
  pushMessage(type: number, bytes: Uint8Array, needsCredit: boolean, sent?: Sent): void {
    this.#push({ type, bytes, offset: 0, needsCredit, sent });
    this.#wake();
  }

  /** Queues a long reply, which goes before all that was queued while it was waited for. */
  pushReply(bytes: Uint8Array): void {
    this.#entries.unshift({ type: MECHANICS.reply, bytes, offset: 0, needsCredit: false, sent: undefined });
    this.#countQueued(bytes.byteLength);
  }

  #push(entry: Entry): void {
    this.#entries.push(entry);
    this.#countQueued(entry.bytes.byteLength);
  }

  #countQueued(bytes: number): void {
    this.#queuedBytes += bytes;
    this.#host.countQueued(bytes);
  }

  /** Ends the direction after everything queued. Idempotent; `sent` is called once END has left. */
  end(sent?: Sent): void {
    if (this.#end === 'sent') {
      sent?.();
      return;
    }
    this.#end = 'wanted';
    if (sent !== undefined) this.#endSent = sent;
    this.#wake();
  }

  /** END has left in a frame that did not pass through here. */
  markEnded(): void {
    this.#end = 'sent';
    this.#onEnd();
  }

  /** The reply is queued: what waited behind it may go. */
  release(): void {
    this.#held = false;
    this.#wake();
  }

  /** Takes over a limit from the peer. @returns false if it fell */
  raise(limit: number): boolean {
    if (!raiseLimit(this.#credit, limit)) return false;
    this.#wake();
    return true;
  }

  /** Drops what is queued as if it had been sent, and ends: the peer has finished and takes no more. */
  discard(): void {
    const entries = this.#clear();
    // First: who hears that it was sent may write on.
    this.end();
    for (const entry of entries) entry.sent?.();
  }

  /** Drops what is queued; whoever waits for it gets the error. */
  fail(error: Error): void {
    const entries = this.#clear();
    const endSent = this.#endSent;
    this.#endSent = undefined;
    this.#end = 'sent';
    for (const entry of entries) entry.sent?.(error);
    endSent?.(error);
  }

  #clear(): Entry[] {
    const entries = this.#entries;
    this.#entries = [];
    this.#countQueued(-this.#queuedBytes);
    this.#noteStarvation();
    return entries;
  }

  get ready(): boolean {
    if (this.#held) return false;
    const entry = this.#entries[0];
    if (entry === undefined) return this.#end === 'wanted';
    return !entry.needsCredit || creditLeft(this.#credit) > 0;
  }

  #wake(): void {
    this.#noteStarvation();
    if (this.ready) this.#host.wake(this);
  }

  /** Starved: the next bytes wait for credit alone. */
  #noteStarvation(): void {
    const entry = this.#entries[0];
    const starved = !this.#held && entry?.needsCredit === true && creditLeft(this.#credit) === 0;
    if (starved && this.#starvedAt === undefined) {
      this.#starvedAt = this.#host.clock.monotonic();
    } else if (!starved && this.#starvedAt !== undefined) {
      this.#host.countStarved(this.#host.clock.monotonic() - this.#starvedAt);
      this.#starvedAt = undefined;
    }
  }

  next(): OutFrame {
    const entry = this.#entries[0];
    if (entry === undefined) return this.#endFrame();
    const frame =
      this.#packedFrame(entry) ??
      (entry.type === MECHANICS['stream.data'] ? this.#dataFrame(entry) : this.#messageFrame(entry));
    this.#noteStarvation();
    return frame;
  }

  #endFrame(): OutFrame {
    const sent = this.#takeEnd();
    return { head: encodeHeader(MECHANICS['stream.end'], this.#id, FLAGS.END), body: EMPTY, sent };
  }

  #takeEnd(): (() => void) | undefined {
    const endSent = this.#endSent;
    this.#endSent = undefined;
    this.#end = 'sent';
    this.#onEnd();
    return endSent && (() => endSent());
  }

  /** The next frame compressed, or undefined if it is to leave as it is. */
  #packedFrame(entry: Entry): OutFrame | undefined {
    if (!this.#compressible) return undefined;
    const { deliveryRate, payloadBytes, deflation } = this.#host;
    if (deliveryRate === undefined || deflation === undefined) return undefined;
    this.#packer ??= new Packer(deflation);
    const packer = this.#packer;
    const wanted = packer.rawBytes(deliveryRate, payloadBytes);
    if (wanted === 0) return undefined;
    const room = entry.needsCredit ? creditLeft(this.#credit) : Number.POSITIVE_INFINITY;
    const length = waitingBytes(this.#entries, Math.min(wanted, room));
    if (length < DEFLATE_FROM_BYTES) return undefined;
    const body = packer.pack(payloadOf(this.#entries, length), deliveryRate, payloadBytes);
    if (body === undefined) return undefined;
    const entries = this.#consumeAll(length);
    const ends = this.#end === 'wanted' && this.#entries.length === 0;
    const more = entry.type !== MECHANICS['stream.data'] && remaining(entry) > 0;
    const flags = FLAGS.DEFLATED | (more ? FLAGS.MORE : ends ? FLAGS.END : 0);
    const head = encodeHeader(entry.type, this.#id, flags);
    return { head, body, sent: callAll(entries, ends ? this.#takeEnd() : undefined) };
  }

  #consumeAll(length: number): Entry[] {
    const entries: Entry[] = [];
    for (let left = length; left > 0; ) {
      const entry = this.#entries[0];
      if (entry === undefined) break;
      left -= this.#consume(entry, left).byteLength;
      entries.push(entry);
    }
    return entries;
  }

  #dataFrame(entry: Entry): OutFrame {
    const max = Math.min(this.#host.payloadBytes, creditLeft(this.#credit));
    const follower = this.#entries[1];
    if (
      follower?.type === entry.type &&
      remaining(entry) < MERGE_BELOW_BYTES &&
      remaining(follower) < MERGE_BELOW_BYTES
    ) {
      return this.#mergedFrame(max);
    }
    const body = this.#consume(entry, max);
    return this.#finish(body.byteLength, body, [entry]);
  }

  /** One frame of several small chunks. */
  #mergedFrame(max: number): OutFrame {
    const parts: Uint8Array[] = [];
    const entries: Entry[] = [];
    let length = 0;
    for (;;) {
      const entry = this.#entries[0];
      if (entry?.type !== MECHANICS['stream.data'] || remaining(entry) >= MERGE_BELOW_BYTES || length === max) break;
      const part = this.#consume(entry, max - length);
      parts.push(part);
      entries.push(entry);
      length += part.byteLength;
    }
    return this.#finish(length, Buffer.concat(parts, length), entries);
  }

  #finish(length: number, body: Uint8Array, entries: readonly Entry[]): OutFrame {
    const ends = this.#end === 'wanted' && this.#entries.length === 0;
    const head = encodeDataHead(this.#id, ends ? FLAGS.END : 0, length);
    return { head, body, sent: callAll(entries, ends ? this.#takeEnd() : undefined) };
  }

  #messageFrame(entry: Entry): OutFrame {
    const room = entry.needsCredit ? creditLeft(this.#credit) : Number.POSITIVE_INFINITY;
    const body = this.#consume(entry, Math.min(this.#host.payloadBytes, room));
    const ends = this.#end === 'wanted' && this.#entries.length === 0;
    const flags = remaining(entry) > 0 ? FLAGS.MORE : ends ? FLAGS.END : 0;
    return {
      head: encodeHeader(entry.type, this.#id, flags),
      body,
      sent: callAll([entry], ends ? this.#takeEnd() : undefined),
    };
  }

  /** Takes at most `max` bytes off the first entry, which leaves the queue with its last byte. */
  #consume(entry: Entry, max: number): Uint8Array {
    const length = Math.min(remaining(entry), max);
    const part =
      length === entry.bytes.byteLength ? entry.bytes : entry.bytes.subarray(entry.offset, entry.offset + length);
    entry.offset += length;
    this.#countQueued(-length);
    if (entry.needsCredit) this.#credit.sent += length;
    if (remaining(entry) === 0) this.#entries.shift();
    return part;
  }
}
