/** A WebSocket as a transport: one frame in one binary message, written behind its header without being copied. */
import { randomFillSync } from 'node:crypto';
import { createRequire } from 'node:module';
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { FRAME_PAYLOAD_BYTES, MAX_FRAME_BYTES } from '../limits.ts';
import { MIN_FRAME_START_BYTES } from './frame.ts';
import type { Transport, TransportEnd, TransportEvents } from './transport.ts';
import { supportsReader, type Unmask, WsReader } from './ws-reader.ts';

/** Options that both ends must give their WebSocket or WebSocketServer. */
export const WS_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MAX_FRAME_BYTES,
  // Text messages end the session whatever they hold.
  skipUTF8Validation: true,
  // A frame in so many pieces is an attack on memory: each piece costs far more than its bytes.
  maxFragments: 64,
  maxBufferedChunks: 16_384,
} as const;

export interface WsTransportOptions {
  /** From how many buffered bytes on `send` answers false. */
  readonly highWaterBytes?: number;
  /** How long the peer may take to answer a close, in ms. */
  readonly closeTimeoutMs?: number;
}

/** What is buffered in the socket beyond this waits in the session's scheduler, where a keystroke can still overtake it. */
const HIGH_WATER_BYTES = 256 * 1024;
const CLOSE_TIMEOUT_MS = 1_000;
/** Messages that may wait for a session: before its hello is answered a peer has one thing to say. */
const MAX_WAITING_MESSAGES = 16;
/** Messages after which the other connections get their turn: tiny ones could hold up the event loop for long. */
const MESSAGES_PER_TURN = 512;
/** A body below this is copied behind its head: one small write costs less than two. */
const COPY_BODY_BELOW_BYTES = 2 * 1024;

/** The parts of a WebSocket of package ws that its public interface lacks. */
interface WebSocketInternals {
  readonly _socket: Duplex;
  readonly _receiver: { _maxPayload: number };
  readonly _isServer: boolean;
}

type Mask = (source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number, length: number) => void;

function maskInScript(source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number, length: number): void {
  for (let index = 0; index < length; index += 1) {
    output[offset + index] = (source[index] ?? 0) ^ (mask[index & 3] ?? 0);
  }
}

/** The native masking of the optional package bufferutil, which is many times faster; it is slower on a few bytes. */
const native = loadNative();
const NATIVE_FROM_BYTES = 48;

function loadNative(): { mask: Mask; unmask: Unmask } | undefined {
  try {
    return createRequire(import.meta.url)('bufferutil') as { mask: Mask; unmask: Unmask };
  } catch {
    return undefined;
  }
}

function unmask(buffer: Uint8Array, mask: Uint8Array): void {
  if (native !== undefined && buffer.byteLength >= NATIVE_FROM_BYTES) native.unmask(buffer, mask);
  else maskInScript(buffer, mask, buffer, 0, buffer.byteLength);
}

function applyMask(source: Uint8Array, mask: Uint8Array, output: Uint8Array, offset: number): void {
  const { byteLength } = source;
  if (native !== undefined && byteLength >= NATIVE_FROM_BYTES) native.mask(source, mask, output, offset, byteLength);
  else maskInScript(source, mask, output, offset, byteLength);
}

/** Writes the header of one final binary WebSocket frame (RFC 6455, section 5.2). @returns its length */
function writeWsHeader(target: Buffer, length: number, masked: boolean): number {
  const bit = masked ? 0x80 : 0;
  target[0] = 0x82;
  if (length < 126) {
    target[1] = bit | length;
    return 2;
  }
  if (length < 0x1_0000) {
    target[1] = bit | 126;
    target.writeUInt16BE(length, 2);
    return 4;
  }
  target[1] = bit | 127;
  target.writeUInt32BE(0, 2);
  target.writeUInt32BE(length, 6);
  return 10;
}

const MAX_WS_HEADER_BYTES = 10;
const MASK_BYTES = 4;
const MASK_POOL_BYTES = 8 * 1024;
let maskPool: Buffer | undefined;
let maskPoolAt = MASK_POOL_BYTES;

/** Four fresh random bytes; RFC 6455, section 10.3 wants them from a strong source. */
function nextMask(): Uint8Array {
  maskPool ??= Buffer.allocUnsafeSlow(MASK_POOL_BYTES);
  if (maskPoolAt === MASK_POOL_BYTES) {
    randomFillSync(maskPool);
    maskPoolAt = 0;
  }
  maskPoolAt += MASK_BYTES;
  return maskPool.subarray(maskPoolAt - MASK_BYTES, maskPoolAt);
}

/** Buffers for full frames, to be used again once their bytes are written: a new one for each is a burden on the collector. */
const FULL_MESSAGE_BYTES = MAX_WS_HEADER_BYTES + MASK_BYTES + MIN_FRAME_START_BYTES + FRAME_PAYLOAD_BYTES;
const MAX_SPARE_BUFFERS = 16;
const spareBuffers: Buffer[] = [];

function giveBack(buffer: Buffer): void {
  if (buffer.byteLength === FULL_MESSAGE_BYTES && spareBuffers.length < MAX_SPARE_BUFFERS) spareBuffers.push(buffer);
}

function bufferFor(bytes: number): Buffer {
  const reusable = bytes > FULL_MESSAGE_BYTES / 2 && bytes <= FULL_MESSAGE_BYTES;
  if (!reusable) return Buffer.allocUnsafe(bytes);
  return spareBuffers.pop() ?? Buffer.allocUnsafeSlow(FULL_MESSAGE_BYTES);
}

/** One WebSocket message as a client sends it: everything masked, at the beginning of one buffer. */
function maskedMessage(head: Uint8Array, body: Uint8Array | undefined): { buffer: Buffer; bytes: number } {
  const length = head.byteLength + (body?.byteLength ?? 0);
  const buffer = bufferFor(MAX_WS_HEADER_BYTES + MASK_BYTES + length);
  const maskAt = writeWsHeader(buffer, length, true);
  const mask = nextMask();
  buffer.set(mask, maskAt);
  const headAt = maskAt + MASK_BYTES;
  applyMask(head, mask, buffer, headAt);
  if (body !== undefined) applyMask(body, rotated(mask, head.byteLength), buffer, headAt + head.byteLength);
  return { buffer, bytes: headAt + length };
}

/** The mask as it stands after so many bytes. */
function rotated(mask: Uint8Array, bytes: number): Uint8Array {
  const by = bytes & 3;
  if (by === 0) return mask;
  return Uint8Array.of(mask[by] ?? 0, mask[(by + 1) & 3] ?? 0, mask[(by + 2) & 3] ?? 0, mask[(by + 3) & 3] ?? 0);
}

/** One WebSocket message as a server sends it: what goes before the body, and the body if it is worth not copying. */
function plainMessage(head: Uint8Array, body: Uint8Array | undefined): { first: Buffer; rest: Uint8Array | undefined } {
  const bodyBytes = body?.byteLength ?? 0;
  const copied = bodyBytes < COPY_BODY_BELOW_BYTES ? bodyBytes : 0;
  const first = Buffer.allocUnsafe(MAX_WS_HEADER_BYTES + head.byteLength + copied);
  const headAt = writeWsHeader(first, head.byteLength + bodyBytes, false);
  first.set(head, headAt);
  const end = headAt + head.byteLength + copied;
  if (copied > 0 && body !== undefined) first.set(body, headAt + head.byteLength);
  return { first: first.subarray(0, end), rest: bodyBytes > copied ? body : undefined };
}

/**
 * Makes a transport of an open WebSocket of package ws, whose other users must be gone. Its `data` events may have been
 * paused until now; messages that arrive before `attach` wait.
 */
export function wsTransport(ws: WebSocket, options: WsTransportOptions = {}): Transport {
  return new WsTransport(ws, options);
}

class WsTransport implements Transport {
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  readonly #receiver: { _maxPayload: number };
  readonly #isServer: boolean;
  readonly #highWaterBytes: number;
  readonly #closeTimeoutMs: number;
  readonly #closed = Promise.withResolvers<TransportEnd>();
  #events: TransportEvents | undefined;
  #waiting: Uint8Array[] = [];
  #maxMessageBytes: number = MAX_FRAME_BYTES;
  #full = false;
  #error: Error | undefined;
  #closing = false;
  #messagesOfTurn = 0;

  constructor(ws: WebSocket, options: WsTransportOptions) {
    const internals = ws as unknown as WebSocketInternals;
    this.#ws = ws;
    this.#socket = internals._socket;
    this.#receiver = internals._receiver;
    this.#isServer = internals._isServer;
    this.#highWaterBytes = options.highWaterBytes ?? HIGH_WATER_BYTES;
    this.#closeTimeoutMs = options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS;
    if (supportsReader(internals._receiver)) {
      new WsReader(internals._receiver, this.#isServer, unmask, {
        message: (first, rest) => this.#binary(first, rest),
        tooLarge: (bytes) => this.#violation('FRAME_TOO_LARGE', `a message of ${bytes} bytes`),
      });
    }
    ws.on('message', (data, isBinary) => this.#message(data, isBinary));
    // The protocol has pings of its own; these would pass below all that it counts.
    ws.on('ping', () => this.#violation('PROTOCOL_ERROR', 'a WebSocket ping'));
    ws.on('pong', () => this.#violation('PROTOCOL_ERROR', 'a WebSocket pong'));
    ws.on('error', (error) => this.#fail(error));
    ws.on('close', (code, reason) => this.#ended(code, reason.toString()));
    this.#socket.on('drain', () => this.#drain());
    if (ws.readyState === ws.CLOSED) this.#ended(1006, '');
  }

  get closed(): Promise<TransportEnd> {
    return this.#closed.promise;
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  attach(events: TransportEvents): void {
    this.#events = events;
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length === 0) return;
    // The session is still under construction.
    queueMicrotask(() => {
      for (const message of waiting) events.message(message);
    });
  }

  #message(data: RawData, isBinary: boolean): void {
    if (this.#closing) return;
    if (!isBinary) {
      this.#violation('PROTOCOL_ERROR', 'a text message');
      return;
    }
    const message = data as Buffer;
    if (message.byteLength > this.#maxMessageBytes) this.#violation('FRAME_TOO_LARGE', 'a message beyond the limit');
    else this.#binary(message, []);
  }

  #binary(first: Uint8Array, rest: readonly Uint8Array[]): void {
    if (this.#closing) return;
    this.#messagesOfTurn += 1;
    if (this.#messagesOfTurn === MESSAGES_PER_TURN) this.#rest();
    if (this.#events !== undefined) this.#events.message(first, rest);
    else if (this.#waiting.length < MAX_WAITING_MESSAGES) this.#waiting.push(Buffer.concat([first, ...rest]));
    else this.destroy();
  }

  /** Reads on once all other connections had their turn. */
  #rest(): void {
    this.#ws.pause();
    setImmediate(() => {
      this.#messagesOfTurn = 0;
      this.#ws.resume();
    });
  }

  #violation(code: 'PROTOCOL_ERROR' | 'FRAME_TOO_LARGE', reason: string): void {
    if (this.#closing) return;
    if (this.#events === undefined) this.destroy();
    else this.#events.violation(code, reason);
  }

  #fail(error: Error): void {
    this.#error ??= error;
    // What ws itself refuses (a message beyond maxPayload, a malformed frame) is the peer's fault; the rest is the network's.
    const code = 'code' in error ? String(error.code) : '';
    if (code.startsWith('WS_ERR_')) this.#violation('PROTOCOL_ERROR', error.message);
  }

  #ended(code: number, reason: string): void {
    this.#closing = true;
    this.#closed.resolve({ code, reason, ...(this.#error === undefined ? {} : { error: this.#error }) });
  }

  send(head: Uint8Array, body?: Uint8Array): boolean {
    const socket = this.#socket;
    if (this.#closing || !socket.writable) return true;
    if (this.#isServer) {
      const { first, rest } = plainMessage(head, body);
      socket.write(first);
      if (rest !== undefined) socket.write(rest);
    } else {
      const { buffer, bytes } = maskedMessage(head, body);
      socket.write(buffer.subarray(0, bytes), () => giveBack(buffer));
    }
    this.#full = socket.writableLength > this.#highWaterBytes;
    return !this.#full;
  }

  #drain(): void {
    if (!this.#full) return;
    this.#full = false;
    this.#events?.drained();
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  setMaxMessageBytes(bytes: number): void {
    this.#maxMessageBytes = bytes;
    // So that a larger message is refused by its header, before any of it is kept.
    this.#receiver._maxPayload = bytes;
  }

  close(code: number, reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    const timer = setTimeout(() => this.#ws.terminate(), this.#closeTimeoutMs).unref();
    this.#ws.once('close', () => clearTimeout(timer));
    this.#ws.close(code, reason);
  }

  destroy(): void {
    this.#closing = true;
    this.#ws.terminate();
  }
}
