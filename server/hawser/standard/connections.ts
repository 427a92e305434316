/** The HTTP connections to an agent of Hawser that listens: by what it is known, through which proxy, and how long they last. */
import http from 'node:http';
import https from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { Clock } from '../../../shared/clock.ts';
import {
  beginExchange,
  type HttpDoor,
  type RawExchange,
  type RawRequest,
} from '../../../shared/docker/raw-exchange.ts';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { explainNetworkError, NEVER_SENT } from '../../../shared/network-errors.ts';
import { CONNECT_MS, IDLE_CONNECTION_MS, MAX_CONNECTIONS } from './limits.ts';

/** What shows the agent that the server may ask it; it hands this on to Docker, which does not look at it. */
export const TOKEN_HEADER = 'X-Hawser-Token';
const KEEPALIVE_MS = 15_000;

/** Where an agent listens, and what is shown to it and wanted of it. */
export interface AgentAddress {
  /** http or https; its path stands before all that is asked. */
  readonly url: URL;
  readonly token: string;
  /** The CA of its certificate in PEM, in place of the system's. */
  readonly ca?: string | undefined;
  /** The SHA-256 of its certificate, 64 lower-case hex digits: this one and no other, whoever has signed it. */
  readonly pin?: string | undefined;
  /** An HTTP proxy, with user and password where it wants some. */
  readonly proxy?: string | undefined;
}

export interface ConnectionsOptions {
  readonly address: AgentAddress;
  readonly clock: Clock;
  /** Resolves names in place of the system's own. */
  readonly lookup?: LookupFunction;
}

type Opened = (error: Error | null, socket: Duplex) => void;
/** @param isOpen whether the connection is there, and secured, already */
type Watch = (socket: Socket, isOpen: boolean, done: Opened) => void;

export class Connections {
  readonly #address: AgentAddress;
  readonly #once: HttpDoor;
  readonly #again: HttpDoor;
  readonly #agents: readonly http.Agent[];

  constructor({ address, clock, lookup }: ConnectionsOptions) {
    this.#address = address;
    const watch: Watch = (socket, isOpen, done) => watchOpening(socket, isOpen, { address, clock, done });
    const once = newAgent(address, watch, { keepAlive: false, timeout: CONNECT_MS });
    const again = newAgent(address, watch, { keepAlive: true, maxFreeSockets: 8, timeout: IDLE_CONNECTION_MS });
    this.#agents = [once, again];
    const door = (agent: http.Agent, keepsAlive: boolean): HttpDoor => ({
      options: { ...optionsOf(address), agent, ...(lookup === undefined ? {} : { lookup }) },
      isTls: address.url.protocol === 'https:',
      authority: address.url.host,
      headers: [[TOKEN_HEADER, address.token]],
      keepsAlive,
    });
    this.#once = door(once, false);
    this.#again = door(again, true);
  }

  /**
   * Puts a request to the agent. One that may be asked again goes over a connection that others have used: should the agent
   * end it at that moment, nobody has to find out whether it was done.
   * @throws FairleadError MESSAGE_INVALID for a header that says how the request is framed
   */
  begin(request: RawRequest): RawExchange {
    const isRead = (request.method === 'GET' || request.method === 'HEAD') && request.body === 'none';
    const door = isRead && request.protocol === undefined ? this.#again : this.#once;
    const prefix = this.#address.url.pathname.replace(/\/+$/, '');
    const headers = request.headers.filter(([name]) => name.toLowerCase() !== TOKEN_HEADER.toLowerCase());
    return beginExchange({ door }, { ...request, headers, target: prefix + request.target });
  }

  /** The FairleadError for what a connection fails with: HOST_OFFLINE where the agent has got nothing, else STREAM_INTERRUPTED. */
  explain(error: unknown): FairleadError {
    if (isFairleadError(error)) return error;
    const { failure, message } = explainNetworkError(error, this.#address.url.origin);
    if (failure === 'proxy')
      return offline(`the proxy did not let the connection to ${this.#address.url.origin} through`);
    if (NEVER_SENT.has(failure)) return offline(message);
    return new FairleadError('STREAM_INTERRUPTED', `the connection to the agent of Hawser broke: ${message}`, {
      cause: error,
    });
  }

  /** Closes those that nobody uses. Idempotent. */
  close(): void {
    for (const agent of this.#agents) agent.destroy();
  }
}

function offline(message: string): FairleadError {
  return new FairleadError('HOST_OFFLINE', message);
}

function optionsOf({ url, ca, pin }: AgentAddress): https.RequestOptions {
  const where = { host: url.hostname.replace(/^\[|\]$/g, ''), ...(url.port === '' ? {} : { port: Number(url.port) }) };
  if (url.protocol === 'http:') return where;
  // Said outright: NODE_TLS_REJECT_UNAUTHORIZED must not be able to turn verification off.
  const trust = { rejectUnauthorized: pin === undefined, ...(ca === undefined ? {} : { ca }) };
  return { ...where, minVersion: 'TLSv1.2', ...trust };
}

function newAgent({ url, proxy }: AgentAddress, watch: Watch, options: http.AgentOptions): http.Agent {
  const most = { ...options, maxSockets: MAX_CONNECTIONS };
  if (url.protocol === 'http:') return new PlainAgent(watch, most);
  // No TLS session is used twice: a resumed one shows no certificate to compare.
  const proxies = proxy === undefined ? {} : { proxyEnv: { HTTPS_PROXY: proxy } };
  return new TlsAgent(watch, { ...most, maxCachedSessions: 0, ...proxies });
}

/** Hands out connections once they are there. */
class PlainAgent extends http.Agent {
  readonly #watch: Watch;

  constructor(watch: Watch, options: http.AgentOptions) {
    super(options);
    this.#watch = watch;
  }

  override createConnection(options: http.ClientRequestArgs, done?: Opened): Duplex | null | undefined {
    const socket = super.createConnection(options);
    if (socket && done) this.#watch(socket as Socket, false, done);
    return undefined;
  }
}

/** Hands out connections once they are known for those that are wanted: nothing is written into any other. */
class TlsAgent extends https.Agent {
  readonly #watch: Watch;

  constructor(watch: Watch, options: https.AgentOptions) {
    super(options);
    this.#watch = watch;
  }

  override createConnection(options: https.RequestOptions, done?: Opened): Duplex | null | undefined {
    // Through a proxy the connection comes by the callback, already secured, and what is returned is that to the proxy.
    const direct = super.createConnection(options, (error, socket) => {
      if (error) done?.(error, socket);
      else if (done) this.#watch(socket as Socket, true, done);
    });
    if (direct instanceof TLSSocket && done) this.#watch(direct, false, done);
    return undefined;
  }
}

interface Opening {
  readonly address: AgentAddress;
  readonly clock: Clock;
  readonly done: Opened;
}

/** Waits until a connection is open, and compares its certificate. */
function watchOpening(socket: Socket, isOpen: boolean, { address, clock, done }: Opening): void {
  const { url, pin } = address;
  const settle = (error: Error | null) => {
    timer.cancel();
    socket.off('connect', onOpen).off('secureConnect', onOpen).off('error', settle).off('close', onClose);
    if (error === null) socket.setKeepAlive(true, KEEPALIVE_MS).setNoDelay(true);
    else socket.on('error', () => undefined).destroy();
    done(error, socket);
  };
  const onOpen = () => settle(pin === undefined ? null : wrongCertificate(socket, pin, url));
  const onClose = () => settle(offline(`${url.origin} closed the connection while it was being made`));
  const late = offline(`${url.origin} took no connection within ${CONNECT_MS / 1000} s`);
  const timer = clock.setTimeout(() => settle(late), CONNECT_MS);
  if (isOpen) {
    onOpen();
    return;
  }
  const event = socket instanceof TLSSocket ? 'secureConnect' : 'connect';
  socket.once(event, onOpen).once('error', settle).once('close', onClose);
}

function wrongCertificate(socket: Socket, pin: string, { origin }: URL): FairleadError | null {
  const shown = socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.fingerprint256 : undefined;
  const digits = shown?.replaceAll(':', '').toLowerCase() ?? 'none';
  if (digits === pin) return null;
  return offline(`the certificate of ${origin} is not the one that is pinned, but sha256:${digits}`);
}
