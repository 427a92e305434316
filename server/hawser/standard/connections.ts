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
import { proxyRefusal } from './settings.ts';

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
/** What tells that the socket is the agent's, ready to be used: an event of its own, or that a tunnel through a proxy is there. */
type Ready = 'connect' | 'secureConnect' | 'tunnel';
/**
 * Hands out by `done` what `begin` opens, once it is open.
 * @param begin returns the socket that it opens it with; a tunnel comes by `tunnelled`
 */
type Open = (ready: Ready, begin: (tunnelled: Opened) => Socket, done: Opened) => void;

export class Connections {
  readonly #address: AgentAddress;
  readonly #once: HttpDoor;
  readonly #again: HttpDoor;
  readonly #agents: readonly http.Agent[];
  /** Ends those that are being made: no agent knows them yet. */
  readonly #opening = new Set<() => void>();

  constructor({ address, clock, lookup }: ConnectionsOptions) {
    this.#address = address;
    const open: Open = (...how) => openSocket({ address, clock, opening: this.#opening }, ...how);
    const once = newAgent(address, open, { keepAlive: false, timeout: CONNECT_MS });
    const again = newAgent(address, open, { keepAlive: true, maxFreeSockets: 8, timeout: IDLE_CONNECTION_MS });
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

  /** Closes those that nobody uses, or that are being made. Idempotent. */
  close(): void {
    for (const end of [...this.#opening]) end();
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

function newAgent({ url, proxy }: AgentAddress, open: Open, options: http.AgentOptions): http.Agent {
  const most = { ...options, maxSockets: MAX_CONNECTIONS };
  if (url.protocol === 'http:') return new PlainAgent(open, most);
  // No TLS session is used twice: a resumed one shows no certificate to compare.
  const proxies = proxy === undefined ? {} : { proxyEnv: { HTTPS_PROXY: proxy } };
  const ready = proxy === undefined ? 'secureConnect' : 'tunnel';
  return new TlsAgent(open, ready, { ...most, maxCachedSessions: 0, ...proxies });
}

/** Hands out connections once they are there. */
class PlainAgent extends http.Agent {
  readonly #open: Open;

  constructor(open: Open, options: http.AgentOptions) {
    super(options);
    this.#open = open;
  }

  override createConnection(options: http.ClientRequestArgs, done?: Opened): Duplex | null | undefined {
    if (done) this.#open('connect', () => super.createConnection(options) as Socket, done);
    return undefined;
  }
}

/** Hands out connections once they are known for those that are wanted: nothing is written into any other. */
class TlsAgent extends https.Agent {
  readonly #open: Open;
  readonly #ready: Ready;

  constructor(open: Open, ready: Ready, options: https.AgentOptions) {
    super(options);
    this.#open = open;
    this.#ready = ready;
  }

  override createConnection(options: https.RequestOptions, done?: Opened): Duplex | null | undefined {
    // Through a proxy what is returned is the connection to that, which may be one of TLS as well.
    const begin = (tunnelled: Opened) => super.createConnection(options, tunnelled) as Socket;
    if (done) this.#open(this.#ready, begin, done);
    return undefined;
  }
}

interface Opening {
  readonly address: AgentAddress;
  readonly clock: Clock;
  /** What ends those that are not open yet. */
  readonly opening: Set<() => void>;
}

/** Opens a connection, in time, and compares its certificate. `done` is called once. */
function openSocket({ address, clock, opening }: Opening, ...[ready, begin, done]: Parameters<Open>): void {
  const { url, pin } = address;
  let isOver = false;
  const settle = (error: Error | null, socket: Socket) => {
    isOver = true;
    timer.cancel();
    opening.delete(end);
    way.off(ready, onReady).off('error', fail).off('close', onClose);
    if (error === null) socket.setKeepAlive(true, KEEPALIVE_MS).setNoDelay(true);
    else for (const ended of new Set([socket, way])) ended.on('error', () => undefined).destroy();
    done(error, socket);
  };
  const fail = (error: Error) => settle(error, way);
  const onOpen = (socket: Socket) => settle(pin === undefined ? null : wrongCertificate(socket, pin, url), socket);
  const onReady = () => onOpen(way);
  const onClose = () => fail(offline(`${url.origin} closed the connection while it was being made`));
  const end = () => fail(offline(`the connection to ${url.origin} is not wanted any more`));
  const late = offline(`${url.origin} took no connection within ${CONNECT_MS / 1000} s`);
  const way = begin((error, socket) => {
    if (isOver) socket?.destroy();
    else if (error) fail(error);
    else onOpen(socket as Socket);
  });
  const timer = clock.setTimeout(() => fail(late), CONNECT_MS);
  opening.add(end);
  way.once('close', onClose);
  if (ready === 'tunnel') {
    // What it fails with comes by the callback.
    way.on('error', () => undefined);
    // Node resolves the names of proxies by itself, and tells before it dials.
    way.on('lookup', (_error: Error | null, found: string | undefined, _family: unknown, name: string) => {
      const refusal = found === undefined ? undefined : proxyRefusal(name, found);
      if (refusal !== undefined) fail(refusal);
    });
  } else way.once(ready, onReady).once('error', fail);
}

function wrongCertificate(socket: Socket, pin: string, { origin }: URL): FairleadError | null {
  const shown = socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.fingerprint256 : undefined;
  const digits = shown?.replaceAll(':', '').toLowerCase() ?? 'none';
  if (digits === pin) return null;
  return offline(`the certificate of ${origin} is not the one that is pinned, but sha256:${digits}`);
}
