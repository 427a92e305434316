/**
 * Writes plain binary messages to a WebSocket's socket. What is written while it is corked leaves as one buffer: TLS
 * would copy several into a new one of their size each time, and what it allocates the garbage collector has to find.
 */
import type { Duplex } from 'node:stream';
import { FRAME_PAYLOAD_BYTES } from '../limits.ts';
import { countStreamedBytes } from '../young-heap.ts';
import { MIN_FRAME_START_BYTES } from './frame.ts';
import { applyMask, MASK_BYTES, nextMask, rotated } from './ws-mask.ts';

const MAX_WS_HEADER_BYTES = 10;
/** One full frame, and what a session writes in one turn on a fast link. */
const FRAME_BATCH_BYTES = MAX_WS_HEADER_BYTES + MASK_BYTES + MIN_FRAME_START_BYTES + FRAME_PAYLOAD_BYTES;
const TURN_BATCH_BYTES = 5 * FRAME_BATCH_BYTES;
/** Below this a buffer of its own costs nothing. */
const SMALL_BATCH_BYTES = 16 * 1024;
const MAX_SPARES = 8;

/** Buffers that are used again once their bytes are written. */
class SparePool {
  readonly #bytes: number;
  readonly #spares: Buffer[] = [];

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  take(): Buffer {
    return this.#spares.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
  }

  give(buffer: Buffer): void {
    if (this.#spares.length < MAX_SPARES) this.#spares.push(buffer);
  }
}

const frameBatches = new SparePool(FRAME_BATCH_BYTES);
const turnBatches = new SparePool(TURN_BATCH_BYTES);

function poolFor(bytes: number): SparePool | undefined {
  if (bytes < SMALL_BATCH_BYTES || bytes > TURN_BATCH_BYTES) return undefined;
  return bytes <= FRAME_BATCH_BYTES ? frameBatches : turnBatches;
}

interface Message {
  readonly head: Uint8Array;
  readonly body: Uint8Array | undefined;
}

export class WsWriter {
  readonly #socket: Duplex;
  readonly #masked: boolean;
  #corked = false;
  #messages: Message[] = [];
  #bytes = 0;

  /** @param masked whether messages must be masked, as those of a client */
  constructor(socket: Duplex, masked: boolean) {
    this.#socket = socket;
    this.#masked = masked;
  }

  /** Bytes that the kernel has not taken yet. */
  get bufferedBytes(): number {
    return this.#socket.writableLength + this.#bytes;
  }

  /** Writes one message made of `head` and `body`; the caller gives both up. */
  write(head: Uint8Array, body: Uint8Array | undefined): void {
    const length = head.byteLength + (body?.byteLength ?? 0);
    this.#messages.push({ head, body });
    this.#bytes += MAX_WS_HEADER_BYTES + MASK_BYTES + length;
    if (!this.#corked) this.#flush();
  }

  cork(): void {
    this.#corked = true;
  }

  uncork(): void {
    this.#corked = false;
    this.#flush();
  }

  #flush(): void {
    const messages = this.#messages;
    if (messages.length === 0) return;
    // What is sent was read from somewhere, into buffers that are now garbage.
    countStreamedBytes(this.#bytes);
    const pool = poolFor(this.#bytes);
    const batch = pool?.take() ?? Buffer.allocUnsafe(this.#bytes);
    this.#messages = [];
    this.#bytes = 0;
    let end = 0;
    for (const message of messages) end = this.#put(message, batch, end);
    this.#socket.write(batch.subarray(0, end), () => pool?.give(batch));
  }

  /** Puts one message at `start`. @returns where it ends */
  #put({ head, body }: Message, batch: Buffer, start: number): number {
    const length = head.byteLength + (body?.byteLength ?? 0);
    let at = writeWsHeader(batch, start, length, this.#masked);
    if (!this.#masked) {
      batch.set(head, at);
      if (body !== undefined) batch.set(body, at + head.byteLength);
      return at + length;
    }
    const mask = nextMask();
    batch.set(mask, at);
    at += MASK_BYTES;
    applyMask(head, mask, batch, at);
    if (body !== undefined) applyMask(body, rotated(mask, head.byteLength), batch, at + head.byteLength);
    return at + length;
  }
}

/** Writes the header of one final binary WebSocket frame (RFC 6455, section 5.2) at `start`. @returns where it ends */
function writeWsHeader(target: Buffer, start: number, length: number, masked: boolean): number {
  const bit = masked ? 0x80 : 0;
  target[start] = 0x82;
  if (length < 126) {
    target[start + 1] = bit | length;
    return start + 2;
  }
  if (length < 0x1_0000) {
    target[start + 1] = bit | 126;
    target.writeUInt16BE(length, start + 2);
    return start + 4;
  }
  target[start + 1] = bit | 127;
  target.writeUInt32BE(0, start + 2);
  target.writeUInt32BE(length, start + 6);
  return start + 10;
}
