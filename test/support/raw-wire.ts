/** A peer that keeps to no rules on a real connection: bytes under the WebSocket, which it may stop reading. */
import type { Duplex } from 'node:stream';
import { decode, encode } from '@msgpack/msgpack';
import type { WebSocket } from 'ws';
import { systemClock } from '../../shared/clock.ts';
import { goaway, hello, welcome } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { decodeHeader, encodeFrame } from '../../shared/mux/frame.ts';
import { receiveHello } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { Transport } from '../../shared/mux/transport.ts';
import { wsTransport } from '../../shared/mux/ws-transport.ts';
import { HELLO, TEST_CATALOGUE, welcomeFrom } from './mux.ts';
import type { WsNetwork } from './mux-transports.ts';

/** First bytes of WebSocket frames (RFC 6455, section 5.2). */
export const WS = { binary: 0x82, firstPiece: 0x02, piece: 0x00, lastPiece: 0x80, ping: 0x89 } as const;

/** A WebSocket frame as a client sends it, under a mask of zeros, which costs its sender nothing. */
export function wsFrame(payload: Uint8Array, first: number = WS.binary): Buffer {
  const bytes = payload.byteLength;
  const head = Buffer.alloc(bytes < 126 ? 6 : bytes < 0x1_0000 ? 8 : 14);
  head[0] = first;
  if (bytes < 126) {
    head[1] = 0x80 | bytes;
  } else if (bytes < 0x1_0000) {
    head[1] = 0xfe;
    head.writeUInt16BE(bytes, 2);
  } else {
    head[1] = 0xff;
    head.writeUInt32BE(bytes, 6);
  }
  return Buffer.concat([head, payload]);
}

class RawWire {
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  /** The code of the last goaway that came. */
  goawayCode: string | undefined;
  /** Resets that came. */
  resets = 0;
  bytesRead = 0;
  /** Whether each frame that comes is acknowledged, as an honest peer does now and then. */
  acknowledges = true;

  constructor(ws: WebSocket) {
    this.#ws = ws;
    this.#socket = (ws as unknown as { readonly _socket: Duplex })._socket;
    // What is written to a connection that was closed under attack fails, which is as it should be.
    this.#socket.on('error', () => undefined);
    ws.on('error', () => undefined);
    ws.on('message', (message: Buffer) => this.#take(message));
  }

  #take(message: Buffer): void {
    this.bytesRead += message.byteLength;
    const header = decodeHeader(message);
    if (header?.type === MECHANICS['stream.reset']) this.resets += 1;
    if (header?.type === goaway.code) this.goawayCode = (decode(message.subarray(8)) as { code: string }).code;
    else if (this.acknowledges) {
      const payload = encode({ bytes: this.bytesRead, at: Math.round(performance.now() * 1000) });
      this.#socket.write(wsFrame(encodeFrame(MECHANICS['session.ack'], 0, 0, payload)));
    }
  }

  /** Writes any bytes. Resolves once the network has room for more, or the connection is gone. */
  async bytes(bytes: Uint8Array): Promise<void> {
    if (this.#socket.destroyed || this.#socket.write(bytes)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once('drain', resolve).once('close', resolve);
    await promise;
    this.#socket.off('drain', resolve).off('close', resolve);
  }

  async frames(...frames: readonly Uint8Array[]): Promise<void> {
    await this.bytes(Buffer.concat(frames.map((one) => wsFrame(one))));
  }

  get gone(): boolean {
    return this.#socket.destroyed;
  }

  pause(): void {
    this.#ws.pause();
  }

  resume(): void {
    this.#ws.resume();
  }

  destroy(): void {
    this.#ws.terminate();
  }
}

export interface BareSession {
  readonly session: Session;
  readonly transport: Transport;
  /** The agent's end of the connection, which nobody speaks for yet. */
  readonly agent: WebSocket;
}

/** A server session on a real connection, before any greeting. */
export async function bareSession(
  network: WsNetwork,
  onStream: (stream: MuxStream) => void = () => undefined,
): Promise<BareSession> {
  const pair = await network.connectWs();
  const transport = wsTransport(pair.server, { closeTimeoutMs: 100 });
  const session = new Session({
    side: 'server',
    transport,
    catalogue: TEST_CATALOGUE,
    clock: systemClock,
    onStream,
    onControl: () => undefined,
  });
  return { session, transport, agent: pair.agent };
}

export interface WireSession {
  readonly session: Session;
  readonly transport: Transport;
  readonly wire: RawWire;
}

/** A welcomed server session on a real connection whose agent is a raw peer. */
export async function wireSession(network: WsNetwork, onStream?: (stream: MuxStream) => void): Promise<WireSession> {
  const { session, transport, agent } = await bareSession(network, onStream);
  const wire = new RawWire(agent);
  await wire.frames(encodeFrame(hello.code, 0, 0, encode(HELLO)));
  await receiveHello(session);
  session.sendControl(welcome, welcomeFrom(session));
  return { session, transport, wire };
}
