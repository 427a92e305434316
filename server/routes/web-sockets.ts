/** WebSockets as routes: an upgrade that becomes one. */
import type { Duplex } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_AGENT_MESSAGE_BYTES } from '../../shared/hawser/messages.ts';
import type { Upgrades } from './upgrades.ts';

/** The largest message a client may send. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** How long a client may take to read what was sent before its connection is cut after a close. */
const CLOSE_TIMEOUT_MS = 10 * 60_000;
/** The same when the server stops. */
const SHUTDOWN_CLOSE_MS = 1_000;

/** `closeTimeout` is newer than the types of ws. */
type Options = ServerOptions & { closeTimeout: number; maxFragments?: number; maxBufferedChunks?: number };

const SERVER_OPTIONS: Options = {
  noServer: true,
  clientTracking: true,
  maxPayload: MAX_MESSAGE_BYTES,
  perMessageDeflate: false,
  closeTimeout: CLOSE_TIMEOUT_MS,
};

/** A WebSocket, and what it reads from. */
export interface Taken {
  readonly webSocket: WebSocket;
  readonly socket: Duplex;
}

/** Agents of Hawser send each message in pieces of 4 KiB; how large one may be is limited, not in how many it comes. */
export const HAWSER_SOCKETS: Partial<Options> = {
  maxPayload: MAX_AGENT_MESSAGE_BYTES,
  maxFragments: MAX_AGENT_MESSAGE_BYTES / 1024,
  maxBufferedChunks: MAX_AGENT_MESSAGE_BYTES / 1024,
  closeTimeout: SHUTDOWN_CLOSE_MS,
};

export class WebSockets {
  readonly #clock: Clock;
  readonly #upgrades: Upgrades;
  readonly #server: WebSocketServer;
  #closed = false;

  constructor(clock: Clock, upgrades: Upgrades, options: Partial<Options> = {}) {
    this.#clock = clock;
    this.#upgrades = upgrades;
    this.#server = new WebSocketServer({ ...SERVER_OPTIONS, ...options });
  }

  /** @throws FairleadError VALIDATION if the request is no proper WebSocket handshake */
  check(request: FastifyRequest): void {
    if (!this.#upgrades.has(request)) {
      throw new FairleadError('VALIDATION', 'this route is a WebSocket: send an upgrade with `Connection: Upgrade`');
    }
    const { 'sec-websocket-key': key, 'sec-websocket-version': version } = request.headers;
    if (typeof key !== 'string' || !/^[+/0-9A-Za-z]{22}==$/.test(key) || version !== '13') {
      throw new FairleadError(
        'VALIDATION',
        'the WebSocket handshake is malformed: it needs version 13 and a valid key',
      );
    }
  }

  /** Answers the upgrade with 101. Everything that may refuse it must have been asked before. */
  async accept(request: FastifyRequest, reply: FastifyReply): Promise<WebSocket> {
    return (await this.take(request, reply)).webSocket;
  }

  /** As `accept`, with what the WebSocket reads from. */
  take(request: FastifyRequest, reply: FastifyReply): Promise<Taken> {
    const { socket, head } = this.#upgrades.take(request, reply);
    const { promise, resolve, reject } = Promise.withResolvers<Taken>();
    const lost = () => reject(new FairleadError('CANCELLED', 'the client went away'));
    if (socket.destroyed || this.#closed) {
      socket.destroy();
      lost();
      return promise;
    }
    socket.once('close', lost);
    this.#server.handleUpgrade(request.raw, socket, head, (webSocket) => {
      socket.off('close', lost);
      resolve({ webSocket, socket });
    });
    return promise;
  }

  /** Closes all with 1001, and cuts those that do not answer. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const webSocket of this.#server.clients) webSocket.close(1001, 'the server is shutting down');
    this.#clock.setTimeout(() => {
      for (const webSocket of this.#server.clients) webSocket.terminate();
    }, SHUTDOWN_CLOSE_MS);
  }
}
