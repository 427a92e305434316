/** A WebSocket whose two ends are joined in memory, so that a test sees and writes the bytes on the wire. */
import { once } from 'node:events';
import http from 'node:http';
import { type Duplex, duplexPair } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { WS_OPTIONS } from '../../shared/mux/ws-transport.ts';

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
