/** A WebSocket whose two ends are joined in memory, so that a test sees and writes the bytes on the wire. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { type Duplex, duplexPair } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import type { TransportEvents } from '../../shared/mux/transport.ts';
import { WS_OPTIONS, type WsTransportOptions, wsTransport } from '../../shared/mux/ws-transport.ts';
import { settle } from './mux.ts';
import { waitFor } from './wait.ts';

export interface WsInMemory {
  readonly server: WebSocket;
  readonly client: WebSocket;
  /** The client's end of the wire: what is written here the server reads. */
  readonly clientSocket: Duplex;
  /** The server's end. */
  readonly serverSocket: Duplex;
}

export async function wsInMemory(): Promise<WsInMemory> {
  const [clientSocket, serverSocket] = duplexPair();
  const listener = http.createServer();
  const sockets = new WebSocketServer({ server: listener, ...WS_OPTIONS });
  const arrival = once(sockets, 'connection') as Promise<[WebSocket]>;
  listener.emit('connection', serverSocket);
  const client = new WebSocket('ws://memory/', { ...WS_OPTIONS, createConnection: () => clientSocket as never });
  await once(client, 'open');
  const [server] = await arrival;
  return { server, client, clientSocket, serverSocket };
}

/** What a transport tells its session. */
export class Heard implements TransportEvents {
  readonly messages: Buffer[] = [];
  readonly violations: string[] = [];
  drains = 0;

  message(first: Uint8Array, rest: readonly Uint8Array[] = []): void {
    assert.ok(first.byteLength > 0 || rest.length === 0, 'a message begins with its first part');
    this.messages.push(Buffer.concat([first, ...rest]));
  }

  violation(code: string): void {
    this.violations.push(code);
  }

  drained(): void {
    this.drains += 1;
  }
}

/** A transport over `ws`, and what it tells. */
export function attached(ws: WebSocket, options: WsTransportOptions = {}, make = wsTransport) {
  const transport = make(ws, options);
  const heard = new Heard();
  transport.attach(heard);
  return { transport, heard };
}

/** The messages that a plain WebSocket gets from now on. */
export function plain(ws: WebSocket): Buffer[] {
  const messages: Buffer[] = [];
  ws.on('message', (data) => messages.push(data as Buffer));
  return messages;
}

/** Waits until there are `count` messages, and no more come. */
export async function arrived(messages: readonly unknown[], count: number): Promise<void> {
  await waitFor(`${count} messages`, () => messages.length >= count, { everyMs: 1 });
  await settle(2);
  assert.equal(messages.length, count);
}

/** Everything that is written to `socket` from now on. */
export function recordWrites(socket: Duplex): () => Buffer {
  const written: Buffer[] = [];
  const write = socket.write.bind(socket) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
  socket.write = ((chunk: Uint8Array, ...rest: unknown[]) => {
    written.push(Buffer.from(chunk));
    return write(chunk, ...rest);
  }) as typeof socket.write;
  return () => Buffer.concat(written.splice(0));
}

/** FIN and the opcode of a binary message. */
export const BINARY = 0x82;

/** One WebSocket frame (RFC 6455, section 5.2), written without the code under test. */
export function wsFrame(firstByte: number, payload: Uint8Array, mask?: Uint8Array): Buffer {
  const { byteLength } = payload;
  const bit = mask === undefined ? 0 : 0x80;
  const head =
    byteLength < 126
      ? Buffer.of(firstByte, bit | byteLength)
      : byteLength < 0x1_0000
        ? Buffer.of(firstByte, bit | 126, byteLength >>> 8, byteLength & 0xff)
        : Buffer.concat([Buffer.of(firstByte, bit | 127, 0, 0, 0, 0), u32(byteLength)]);
  const masked = Buffer.from(payload);
  if (mask !== undefined)
    for (const index of masked.keys()) masked[index] = (masked[index] ?? 0) ^ (mask[index & 3] ?? 0);
  return Buffer.concat([head, mask ?? new Uint8Array(0), masked]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
