/** Hawser's Standard mode: a listener whose clients use this host's Docker by the token, as far as the host's policy lets them. */
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { apiCall } from '../../shared/docker/api-calls.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { networkOf } from '../../shared/network.ts';
import { runRequest, runUpgrade } from '../docker/client-exchange.ts';
import type { StandardConfig } from './config.ts';
import type { HawserContext } from './context.ts';
import { asksForUpgrade, HttpClient, TOKEN_HEADER } from './http-client.ts';
import * as limits from './limits.ts';
import { answerCompose, answerHealth, answerInfo } from './own-answers.ts';
import { TokenGate } from './token-gate.ts';

export class HawserStandard {
  readonly #context: HawserContext;
  readonly #gate: TokenGate;
  readonly #server: http.Server;
  readonly #clients = new Set<HttpClient>();
  readonly #sockets = new Set<Socket>();
  /** Requests of each connection that were not answered yet, those for an upgrade aside. */
  readonly #unanswered = new WeakMap<Duplex, number>();
  readonly #connections = new Map<string, number>();
  readonly #startedAt: number;
  #closing: Promise<void> | undefined;

  private constructor({ token, tls }: StandardConfig, context: HawserContext) {
    this.#context = context;
    this.#gate = new TokenGate(token, context.clock);
    this.#startedAt = context.clock.monotonic();
    const options = {
      maxHeaderSize: limits.MAX_HEADER_BYTES,
      headersTimeout: limits.HEADERS_MS,
      // Bodies and answers may take as long as they do.
      requestTimeout: 0,
      keepAliveTimeout: limits.IDLE_CONNECTION_MS,
      connectionsCheckingInterval: limits.CHECK_MS,
      keepAlive: true,
      keepAliveInitialDelay: limits.KEEP_ALIVE_PROBE_MS,
      noDelay: true,
      shouldUpgradeCallback: asksForUpgrade,
    };
    const handle = (request: IncomingMessage, response: ServerResponse) => this.#onRequest(request, response);
    this.#server =
      tls === undefined
        ? http.createServer(options, handle)
        : // Both kinds of server have all that is used here.
          (https.createServer(
            { ...options, ...tls, minVersion: 'TLSv1.2', handshakeTimeout: limits.TLS_HANDSHAKE_MS },
            handle,
          ) as unknown as http.Server);
    this.#server.maxConnections = limits.MAX_CONNECTIONS;
    this.#server.on('connection', (socket: Socket) => this.#onConnection(socket));
    this.#server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head));
  }

  /** @throws FairleadError CONFLICT for a port that is in use, VALIDATION for one that cannot be listened on */
  static async open(config: StandardConfig, context: HawserContext): Promise<HawserStandard> {
    const { host, port, tls } = config;
    const standard = new HawserStandard(config, context);
    const server = standard.#server;
    try {
      server.listen({ host, port });
      await once(server, 'listening');
    } catch (error) {
      throw cannotListen(error, `${host}:${port}`);
    }
    server.on('error', (error) => context.log.warn({ err: error }, 'a client of Hawser could not be taken'));
    const address = `${host.includes(':') ? `[${host}]` : host}:${standard.port}`;
    context.log.info({ address, tls: tls !== undefined }, "listening for a Dockhand server, as Hawser's Standard mode");
    return standard;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Takes nothing more, lets what goes on end for a while, and then ends it. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock } = this.#context;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = clock.setTimeout(() => {
      const why = new FairleadError('SHUTDOWN', 'the agent is stopping');
      for (const client of this.#clients) client.end(why);
      const cut = clock.setTimeout(() => this.#cutOff(), limits.END_MS);
      void closed.then(() => cut.cancel());
    }, limits.DRAIN_MS);
    await closed;
    timer.cancel();
  }

  #cutOff(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #onConnection(socket: Socket): void {
    const network = networkOf(socket.remoteAddress ?? '');
    const count = (this.#connections.get(network) ?? 0) + 1;
    if (count > limits.MAX_CONNECTIONS_OF_ADDRESS) return void socket.destroy();
    this.#connections.set(network, count);
    this.#sockets.add(socket);
    // One that breaks is seen by its close.
    socket.on('error', () => undefined);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      const left = (this.#connections.get(network) ?? 1) - 1;
      if (left > 0) this.#connections.set(network, left);
      else this.#connections.delete(network);
    });
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    this.#unanswered.set(socket, (this.#unanswered.get(socket) ?? 0) + 1);
    response.once('close', () => this.#unanswered.set(socket, (this.#unanswered.get(socket) ?? 1) - 1));
    const client = HttpClient.ofRequest(request, response, this.#context.clock);
    if (client.body !== 'none') this.#watchBody(request, client);
    void this.#serve(client);
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Its answer would overtake that of the request before it, in the same connection: no client does this.
    if ((this.#unanswered.get(request.socket) ?? 0) > 0) return void request.socket.destroy();
    void this.#serve(HttpClient.ofUpgrade(request, socket, head, this.#context.clock));
  }

  /** Gives up a body of which nothing comes any more. */
  #watchBody(request: IncomingMessage, client: HttpClient): void {
    const why = new FairleadError('REQUEST_TIMEOUT', `the body stopped coming for ${limits.BODY_IDLE_MS / 60_000} min`);
    request.setTimeout(limits.BODY_IDLE_MS, () => client.end(why));
    request.once('end', () => request.setTimeout(0));
  }

  /** Never rejects. */
  async #serve(client: HttpClient): Promise<void> {
    const { log } = this.#context;
    this.#clients.add(client);
    try {
      await this.#answer(client);
    } catch (error) {
      const failure = this.#context.docker.explain(error);
      if (!isFairleadError(failure)) log.error({ err: error }, 'a request of a Dockhand server failed unexpectedly');
      else log.debug({ code: failure.code, reason: failure.message }, 'a request of a Dockhand server failed');
      client.fail(failure);
    } finally {
      this.#clients.delete(client);
    }
  }

  async #answer(client: HttpClient): Promise<void> {
    const { path } = client;
    if (path === '/_hawser/health') return answerHealth(client, this.#context);
    if (!this.#admit(client)) return;
    if (path === '/_hawser/info') return answerInfo(client, this.#context, this.#startedAt);
    if (path === '/_hawser/compose') return await answerCompose(client, this.#context);
    await this.#proxy(client);
  }

  /** Whether the client has the token. If not, it has been told so. */
  #admit(client: HttpClient): boolean {
    const { [TOKEN_HEADER]: token } = client.request.headers;
    try {
      this.#gate.check(typeof token === 'string' ? token : undefined, client.address);
      return true;
    } catch (error) {
      if (!isFairleadError(error)) throw error;
      const { code, message, retryAfterSeconds } = error;
      const fact = { address: client.address, code };
      // As many lines as there may be guesses.
      if (code === 'TOKEN_INVALID' && token !== undefined) this.#context.log.warn(fact, `refused a client: ${message}`);
      else this.#context.log.debug(fact, `refused a client: ${message}`);
      const headers = { 'x-content-type-options': 'nosniff', connection: 'close' };
      if (code === 'RATE_LIMITED') {
        const retry = { ...headers, 'retry-after': String(retryAfterSeconds ?? 60) };
        client.answer(429, 'text/plain; charset=utf-8', 'Too many requests\n', retry);
      } else client.answer(401, 'text/plain; charset=utf-8', 'Unauthorized\n', headers);
      return false;
    }
  }

  async #proxy(client: HttpClient): Promise<void> {
    const { log } = this.#context;
    const exchange = client.exchange();
    const { method, target } = exchange.request;
    const call = apiCall(method, target);
    if (call?.policy !== 'read') {
      log.info({ address: client.address, method, path: client.path }, 'a Dockhand server asks for a change');
    }
    const { protocol } = client;
    if (protocol === undefined) return await runRequest(exchange, client.body, this.#context);
    const body = await client.wholeBody(limits.MAX_UPGRADE_BODY_BYTES);
    await runUpgrade(exchange, { protocol, body }, this.#context);
  }
}

function cannotListen(cause: unknown, where: string): FairleadError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'EADDRINUSE') {
    const what = `${where} is in use by another program: stop that, or choose another --hawser-standard`;
    return new FairleadError('CONFLICT', what, { cause });
  }
  return new FairleadError(
    'VALIDATION',
    `cannot listen on ${where} (${String(code ?? cause)}): see --hawser-standard`,
    {
      cause,
    },
  );
}
