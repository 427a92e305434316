/** WebSockets as routes: an upgrade runs through the same table, tokens and schemas, and is refused by an HTTP answer. */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Api } from './app-types.ts';
import { endSocket } from './end-socket.ts';
import { UPGRADE_MS } from './limits.ts';

/** The largest message a client may send. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
/** How long a client may take to read what was sent before its connection is cut after a close. */
const CLOSE_TIMEOUT_MS = 10 * 60_000;
/** The same when the server stops. */
const SHUTDOWN_CLOSE_MS = 1_000;

/** `closeTimeout` is newer than the types of ws. */
const SERVER_OPTIONS: ServerOptions & { closeTimeout: number } = {
  noServer: true,
  clientTracking: true,
  maxPayload: MAX_MESSAGE_BYTES,
  perMessageDeflate: false,
  closeTimeout: CLOSE_TIMEOUT_MS,
};

interface Upgrade {
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly deadline: Timer;
}

/** Whether a request asks for a WebSocket; any other upgrade is answered as if it asked for none. */
export function asksForWebSocket(request: IncomingMessage): boolean {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket';
}

export class WebSockets {
  readonly #clock: Clock;
  /** Upgrades that were not answered yet. */
  readonly #upgrades = new WeakMap<IncomingMessage, Upgrade>();
  readonly #server = new WebSocketServer(SERVER_OPTIONS);
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes the upgrades of the API's server. */
  mount(api: Api): void {
    api.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      // A connection that breaks is seen by its close.
      socket.on('error', () => socket.destroy());
      // HTTP's own timeouts end with the upgrade.
      const deadline = this.#clock.setTimeout(() => socket.destroy(), UPGRADE_MS);
      socket.once('close', () => deadline.cancel());
      this.#upgrades.set(request, { socket, head, deadline });
      const response = new ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(socket as Parameters<ServerResponse['assignSocket']>[0]);
      response.once('finish', () => {
        deadline.cancel();
        endSocket(socket, this.#clock);
      });
      api.routing(request, response);
    });
  }

  /** @throws FairleadError VALIDATION if the request is no proper WebSocket handshake */
  check(request: FastifyRequest): void {
    if (!this.#upgrades.has(request.raw)) {
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
  accept(request: FastifyRequest, reply: FastifyReply): Promise<WebSocket> {
    const upgrade = this.#upgrades.get(request.raw);
    if (upgrade === undefined) throw new Error('accept is called once, after check');
    this.#upgrades.delete(request.raw);
    const { socket, head, deadline } = upgrade;
    deadline.cancel();
    reply.hijack();
    reply.raw.detachSocket(socket as Parameters<ServerResponse['detachSocket']>[0]);
    const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
    const lost = () => reject(new FairleadError('CANCELLED', 'the client went away'));
    if (socket.destroyed || this.#closed) {
      socket.destroy();
      lost();
      return promise;
    }
    socket.once('close', lost);
    this.#server.handleUpgrade(request.raw, socket, head, (webSocket) => {
      socket.off('close', lost);
      resolve(webSocket);
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
