/** A WebSocket as a transport: one frame in one binary message, written behind its header without being copied. */
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { MAX_FRAME_BYTES } from '../limits.ts';
import type { Transport, TransportEnd, TransportEvents } from './transport.ts';
import { unmask } from './ws-mask.ts';
import { supportsReader, WsReader } from './ws-reader.ts';
import { WsWriter } from './ws-writer.ts';

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

/** The parts of a WebSocket of package ws that its public interface lacks. */
interface WebSocketInternals {
  readonly _socket: Duplex;
  readonly _receiver: { _maxPayload: number };
  readonly _isServer: boolean;
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
  readonly #writer: WsWriter;
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
    const isServer = internals._isServer;
    // Clients mask what they send.
    this.#writer = new WsWriter(this.#socket, !isServer);
    this.#highWaterBytes = options.highWaterBytes ?? HIGH_WATER_BYTES;
    this.#closeTimeoutMs = options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS;
    if (supportsReader(internals._receiver)) {
      new WsReader(internals._receiver, isServer, unmask, {
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
    return this.#writer.bufferedBytes;
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
    if (this.#closing || !this.#socket.writable) return true;
    this.#writer.write(head, body);
    this.#full = this.#writer.bufferedBytes > this.#highWaterBytes;
    return !this.#full;
  }

  #drain(): void {
    if (!this.#full) return;
    this.#full = false;
    this.#events?.drained();
  }

  cork(): void {
    this.#writer.cork();
  }

  uncork(): void {
    this.#writer.uncork();
    // A kernel that took it all at once leaves nothing to drain.
    if (this.#full && !this.#socket.writableNeedDrain) setImmediate(() => this.#drain());
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
