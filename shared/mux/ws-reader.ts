/**
 * Reads plain binary messages off a WebSocket of package ws without putting them together: ws copies every message into
 * one new buffer, which for bulk is half of what receiving costs. Everything else that can come on a WebSocket still
 * goes through ws itself.
 */
import { countStreamedBytes } from '../young-heap.ts';
import { Assembly } from './assembly.ts';

/** The parts of ws's receiver that this relies on; `supportsReader` looks whether they are there. */
export interface WsReceiver {
  _maxPayload: number;
  readonly _state: number;
  readonly _bufferedBytes: number;
  readonly _fragmented: number;
  readonly _errored: boolean;
  _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void;
}

/** The receiver's state between two frames. */
const BETWEEN_FRAMES = 0;
/** FIN and the opcode of a binary message (RFC 6455, section 5.2): the only first byte that is read here. */
const WHOLE_BINARY = 0x82;
const MASK_BIT = 0x80;
const MASK_BYTES = 4;
/** Parts that a message may be left in; what comes in smaller ones is copied together. */
const MAX_PARTS = 64;

export type Unmask = (buffer: Uint8Array, mask: Uint8Array) => void;

/** Whether `receiver` is built as this reader expects. */
export function supportsReader(receiver: object): receiver is WsReceiver {
  const { _maxPayload, _state, _bufferedBytes, _fragmented, _errored, _write } = receiver as Partial<WsReceiver>;
  const numbers = [_maxPayload, _state, _bufferedBytes, _fragmented].every((value) => typeof value === 'number');
  return numbers && typeof _errored === 'boolean' && typeof _write === 'function';
}

export interface WsReaderEvents {
  message(first: Uint8Array, rest: readonly Uint8Array[]): void;
  /** A message is larger than the receiver's limit. It is skipped, so that what follows can still be read. */
  tooLarge(bytes: number): void;
}

interface FrameStart {
  /** Where the payload starts in the chunk. */
  readonly start: number;
  readonly length: number;
  readonly mask: Uint8Array | undefined;
}

export class WsReader {
  readonly #receiver: WsReceiver;
  readonly #masked: boolean;
  readonly #unmask: Unmask;
  readonly #events: WsReaderEvents;
  readonly #fallback: WsReceiver['_write'];
  /** The beginning of a header whose end has not come: at most 13 bytes. */
  #header: Buffer | undefined;
  /** The payload of the current message that has come, and how much is still to come. */
  #parts: Uint8Array[] = [];
  #rest: Assembly | undefined;
  #left = 0;
  #skipping = false;
  #mask: Uint8Array | undefined;

  /**
   * Takes the place of ws's own parser.
   * @param masked whether the peer masks what it sends, as clients do
   */
  constructor(receiver: WsReceiver, masked: boolean, unmask: Unmask, events: WsReaderEvents) {
    this.#receiver = receiver;
    this.#masked = masked;
    this.#unmask = unmask;
    this.#events = events;
    this.#fallback = receiver._write.bind(receiver);
    receiver._write = (chunk, encoding, done) => this.#write(chunk, encoding, done);
  }

  #write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const unread = this.#read(chunk);
    countStreamedBytes(chunk.byteLength);
    if (unread === undefined) done();
    else this.#fallback(unread, encoding, done);
  }

  /** Whether ws is in the middle of something that it must finish itself. */
  get #busy(): boolean {
    const { _state, _bufferedBytes, _fragmented, _errored } = this.#receiver;
    return _state !== BETWEEN_FRAMES || _bufferedBytes > 0 || _fragmented !== 0 || _errored;
  }

  /** @returns what ws must read */
  #read(received: Buffer): Buffer | undefined {
    if (this.#busy) return received;
    let chunk = received;
    let at = 0;
    if (this.#header !== undefined) {
      chunk = Buffer.concat([this.#header, received]);
      this.#header = undefined;
    }
    while (at < chunk.byteLength) {
      if (this.#left === 0) {
        const frame = this.#frameStart(chunk, at);
        if (frame === 'incomplete') {
          this.#header = Buffer.from(chunk.subarray(at));
          return undefined;
        }
        if (frame === 'not ours') return chunk.subarray(at);
        at = frame.start;
        this.#left = frame.length;
        this.#mask = frame.mask;
        this.#skipping = frame.length > this.#receiver._maxPayload;
        if (this.#skipping) this.#events.tooLarge(frame.length);
      }
      if (at === chunk.byteLength) return undefined;
      const end = Math.min(chunk.byteLength, at + this.#left);
      this.#take(chunk.subarray(at, end));
      at = end;
    }
    return undefined;
  }

  #frameStart(chunk: Buffer, at: number): FrameStart | 'incomplete' | 'not ours' {
    if (chunk.byteLength - at < 2) return chunk[at] === WHOLE_BINARY ? 'incomplete' : 'not ours';
    const second = chunk.readUInt8(at + 1);
    const masked = (second & MASK_BIT) !== 0;
    if (chunk[at] !== WHOLE_BINARY || masked !== this.#masked) return 'not ours';
    const short = second & ~MASK_BIT;
    const lengthBytes = short < 126 ? 0 : short === 126 ? 2 : 8;
    const start = at + 2 + lengthBytes + (masked ? MASK_BYTES : 0);
    if (chunk.byteLength < start) return 'incomplete';
    const length =
      lengthBytes === 0 ? short : chunk.readUIntBE(at + 2 + Math.max(0, lengthBytes - 6), Math.min(lengthBytes, 6));
    // A message without payload, and one whose length takes more than six bytes, ws refuses or hands on itself.
    if (length === 0 || (lengthBytes === 8 && chunk.readUInt16BE(at + 2) !== 0)) return 'not ours';
    // A copy: a view would keep the whole chunk, and unmasking rotates it.
    return { start, length, mask: masked ? Uint8Array.from(chunk.subarray(start - MASK_BYTES, start)) : undefined };
  }

  #take(part: Buffer): void {
    this.#left -= part.byteLength;
    if (this.#skipping) return;
    if (this.#mask !== undefined) {
      this.#unmask(part, this.#mask);
      rotate(this.#mask, part.byteLength);
    }
    if (this.#parts.length < MAX_PARTS) {
      this.#parts.push(part);
    } else {
      this.#rest ??= new Assembly(0);
      this.#rest.add(part);
    }
    if (this.#left === 0) this.#deliver();
  }

  #deliver(): void {
    const [first, ...rest] = this.#parts;
    if (this.#rest !== undefined) rest.push(this.#rest.whole());
    this.#parts = [];
    this.#rest = undefined;
    this.#mask = undefined;
    if (first !== undefined) this.#events.message(first, rest);
  }
}

/** Turns the mask to where it stands after so many bytes. */
function rotate(mask: Uint8Array, bytes: number): void {
  const by = bytes & 3;
  if (by === 0) return;
  mask.set([mask[by] ?? 0, mask[(by + 1) & 3] ?? 0, mask[(by + 2) & 3] ?? 0, mask[(by + 3) & 3] ?? 0]);
}
