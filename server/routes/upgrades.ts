/**
 * Upgrades of the API's connections: each runs through the same table, tokens and schemas as a request, and is refused by an
 * HTTP answer.
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock, Timer } from '../../shared/clock.ts';
import { isDockerPath, mayBeUpgraded } from '../docker-proxy/client-call.ts';
import type { Api } from './app-types.ts';
import { endSocket } from './end-socket.ts';
import { UPGRADE_MS } from './limits.ts';

/** A connection that is no longer HTTP's. */
export interface Upgraded {
  readonly socket: Duplex;
  /** What the client has sent already. */
  readonly head: Buffer;
}

interface Upgrade extends Upgraded {
  readonly deadline: Timer;
}

export function asksForWebSocket(request: IncomingMessage): boolean {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** Whether a request asks for an upgrade that some route has; any other is answered as if it asked for none. */
export function asksForUpgrade(request: IncomingMessage): boolean {
  return isDockerPath(request.url) ? mayBeUpgraded(request) : asksForWebSocket(request);
}

export class Upgrades {
  readonly #clock: Clock;
  /** How many requests of a connection were not answered yet, those for an upgrade aside. */
  readonly #unanswered = new WeakMap<Duplex, number>();
  /** Those that were not answered yet. */
  readonly #waiting = new WeakMap<IncomingMessage, Upgrade>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes the upgrades of the API's server. */
  mount(api: Api): void {
    api.server.prependListener('request', ({ socket }, response) => {
      this.#unanswered.set(socket, (this.#unanswered.get(socket) ?? 0) + 1);
      response.once('close', () => this.#unanswered.set(socket, (this.#unanswered.get(socket) ?? 1) - 1));
    });
    api.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      // Its answer would overtake that of the request before it, in the same connection: no client does this.
      if ((this.#unanswered.get(request.socket) ?? 0) > 0) return void request.socket.destroy();
      // From here on each half may end by itself; before, the end of one ends both. Node may have put a stream around the socket.
      for (const end of [request.socket, socket]) end.allowHalfOpen = true;
      // A connection that breaks is seen by its close.
      socket.on('error', () => socket.destroy());
      // HTTP's own timeouts end with the upgrade.
      const deadline = this.#clock.setTimeout(() => socket.destroy(), UPGRADE_MS);
      socket.once('close', () => deadline.cancel());
      this.#waiting.set(request, { socket, head, deadline });
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

  /** Whether a request asks for an upgrade and was not answered yet. */
  has(request: FastifyRequest): boolean {
    return this.#waiting.has(request.raw);
  }

  /** Says that a request is being answered, upgrade or none: its answer may take as long as it does. */
  answer(request: FastifyRequest): void {
    this.#waiting.get(request.raw)?.deadline.cancel();
  }

  /** Takes the connection out of HTTP's hands. Everything that may refuse the upgrade must have been asked before. */
  take(request: FastifyRequest, reply: FastifyReply): Upgraded {
    const upgrade = this.#waiting.get(request.raw);
    if (upgrade === undefined) throw new Error('an upgrade is taken once');
    this.#waiting.delete(request.raw);
    const { socket, head, deadline } = upgrade;
    deadline.cancel();
    reply.hijack();
    reply.raw.detachSocket(socket as Parameters<ServerResponse['detachSocket']>[0]);
    return { socket, head };
  }
}
