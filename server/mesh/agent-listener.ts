/** The agents' port: mutual TLS 1.3, one WebSocket per agent, from the handshake to a link in the registry. */
import { constants } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { GOAWAY_DEADLINE_MS, HELLO_TIMEOUT_MS } from '../../shared/limits.ts';
import { SUBPROTOCOL } from '../../shared/messages/index.ts';
import { Budget } from '../../shared/mux/budget.ts';
import { WS_OPTIONS } from '../../shared/mux/ws-transport.ts';
import type { Balancers } from '../doors/balancers.ts';
import { Door } from '../doors/door.ts';
import type { AgentRefusal } from '../hosts/agent-refusals.ts';
import { keepRecent } from '../keep-recent.ts';
import { type SessionDeps, startSession } from './agent-session.ts';
import type { NativeLink } from './native-link.ts';
import { certificateRefusal, connectionUnder, type PeerIdentity, peerIdentity, peerSerial } from './peer-identity.ts';
import { type Peer, Peers } from './peers.ts';
import { refuseRequest, refuseUpgrade } from './refuse-upgrade.ts';
import { returnSpreadMs } from './return-spread.ts';
import { sendTrust } from './trust-news.ts';

/** Where an agent proves a new certificate while its session goes on under the old one. */
const ACTIVATE_PATH = '/agent/activate';

export interface AgentListenerOptions extends Omit<SessionDeps, 'clock' | 'log'> {
  readonly clock: Clock;
  readonly log: Logger;
  readonly installationId: string;
  /** The roots and intermediates by which agents' certificates are verified. */
  readonly caPem: string;
  /** The key identifiers of those, in hex; absent: whatever TLS accepts. */
  readonly issuers?: ReadonlySet<string>;
  readonly tls: { key: string; cert: string };
  /** Whether a certificate that the CA's key has signed has the serial of another one, which was issued here. */
  isForged(identity: PeerIdentity): Promise<boolean>;
  /** The allow-list: whether a certificate's serial may open a session. */
  isActive(serial: string): boolean;
  /** Those whose connections must begin with a PROXY header. */
  readonly balancers?: Balancers | undefined;
  /** Somebody was refused by his certificate. Must return at once, and not throw. */
  onRefused?(refusal: AgentRefusal): void;
  /** Why a serial may not, for the agent to read. */
  refusal(serial: string, address: string): Promise<FairleadError>;
  /** An agent has shown a certificate that is on the list; one that is new to the server supersedes the host's others. */
  use(identity: PeerIdentity, address: string): Promise<void>;
}

/** Sessions that one host may begin: a restart or a bad link never needs more. */
const SESSIONS_PER_SECOND = 0.5;
const SESSION_BURST = 40;
/** Hosts for which that is remembered. */
const MAX_STARTS = 20_000;

export class AgentListener {
  readonly #options: AgentListenerOptions;
  /** Accepts connections, which are not read from before the door lets them through to `#server`. */
  readonly #port: TcpServer;
  readonly #server: Server;
  readonly #webSockets: WebSocketServer;
  /** Every socket whose certificate was accepted; a revocation finds them here, with or without a session. */
  readonly #peers: Peers;
  readonly #door: Door;
  /** How often each host may begin a session: of those that began one last. */
  readonly #starts = new Map<string, Budget>();

  #tls: { key: string; cert: string };
  #caPem: string;
  /** The CAs that count; undefined: those that TLS verifies by. */
  #issuers: ReadonlySet<string> | undefined;

  constructor(options: AgentListenerOptions) {
    this.#options = options;
    this.#peers = new Peers(options.clock);
    this.#tls = options.tls;
    this.#caPem = options.caPem;
    this.#issuers = options.issuers;
    this.#server = createServer({
      ...options.tls,
      ca: options.caPem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout: HELLO_TIMEOUT_MS,
      maxHeaderSize: 8192,
    });
    this.#webSockets = new WebSocketServer({
      ...WS_OPTIONS,
      noServer: true,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    });
    const { clock, log, balancers } = options;
    const begin = (socket: Socket) => void this.#server.emit('connection', socket);
    this.#door = new Door({ begin, clock, log, balancers });
    this.#port = createTcpServer({ pauseOnConnect: true }, (socket) => this.#door.enter(socket));
    this.#server.on('tlsClientError', (error, socket) => {
      const address = this.#door.addressOf(connectionUnder(socket) ?? socket) ?? '';
      log.debug({ err: error, address }, 'TLS handshake refused');
      const refusal = certificateRefusal(socket);
      if (refusal !== undefined) options.onRefused?.({ error: refusal, address });
      socket.destroy();
    });
    this.#server.on('secureConnection', (socket) => this.#admit(socket));
    this.#server.on('request', (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        options.log.error({ err: error }, 'an agent request failed');
        response.destroy();
      });
    });
    this.#server.on('upgrade', (request, socket, head) => {
      this.#upgrade(request, socket as TLSSocket, head).catch((error: unknown) => {
        options.log.error({ err: error }, 'an agent connection failed');
        socket.destroy();
      });
    });
  }

  /** Listens. @returns the port. @throws the listen error, such as EADDRINUSE */
  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#port.once('error', reject);
      this.#port.listen({ host, port }, () => {
        this.#port.off('error', reject);
        this.#port.on('error', (error) => this.#options.log.error({ err: error }, 'agent listener'));
        resolve();
      });
    });
    return (this.#port.address() as AddressInfo).port;
  }

  /** Uses another leaf for the connections to come. */
  setTls(tls: { key: string; cert: string }): void {
    this.#tls = tls;
    this.#setContext();
  }

  /**
   * Verifies the connections to come by other roots, tells all agents of them, and ends the sessions whose certificate is
   * of none of them.
   * @param issuers the key identifiers, in hex, of the CAs whose certificates are accepted
   */
  setTrust({ caPem, issuers }: { caPem: string; issuers: ReadonlySet<string> }): void {
    this.#caPem = caPem;
    this.#issuers = issuers;
    this.#setContext();
    for (const link of this.links()) sendTrust(link, this.#options.trust);
    this.#peers.endUnlessOf(issuers);
  }

  #setContext(): void {
    this.#server.setSecureContext({
      ...this.#tls,
      ca: this.#caPem,
      minVersion: 'TLSv1.3',
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
  }

  /** Ends what a host, or one of its certificates, holds: sessions with a goaway of `code`, then every socket. */
  disconnect(target: { hostId: string; serial?: string }, code: ErrorCode, reason: string): void {
    this.#peers.disconnect(target, code, reason);
  }

  /** A host has used a new certificate: the session that asked for it goes on under it, without noticing. */
  succeed(identity: PeerIdentity, superseded: readonly string[]): void {
    this.#peers.succeed(identity, superseded);
    // Revoked in this very moment, when nothing was found under it yet.
    if (this.#options.isActive(identity.serial)) return;
    this.#peers.disconnect(identity, 'CERT_REVOKED', 'the certificate was revoked');
  }

  /** The links whose sessions run on this listener. */
  links(): IterableIterator<NativeLink> {
    return this.#peers.links();
  }

  /** Stops listening, tells every agent to come back within a spread that is for all of them, and waits for their streams. */
  async close(deadlineMs = GOAWAY_DEADLINE_MS): Promise<void> {
    const stopped = new Promise<void>((resolve) => this.#port.close(() => resolve()));
    this.#door.close();
    const links = [...this.links()];
    const spreadMs = returnSpreadMs(links.length);
    const farewells = links.map((link) =>
      link.session.goaway({
        code: 'SHUTDOWN',
        reason: 'the server is stopping',
        retryAfterMs: Math.round(this.#options.random() * spreadMs),
        deadlineMs,
      }),
    );
    await Promise.all(farewells);
    this.#peers.close();
    await stopped;
  }

  /**
   * Synchronous on purpose: nothing is read before it is known whose key this is. The allow-list is asked as the connection
   * asks for a session and again at its hello, so that a revoked host can be told why; until then it holds a silent socket,
   * for as long as the door leaves one open.
   */
  #admit(socket: TLSSocket): void {
    const { log, installationId } = this.#options;
    this.#door.secured(socket);
    socket.setNoDelay(true);
    socket.on('error', (error) => log.debug({ err: error }, 'agent socket'));
    try {
      const identity = peerIdentity(socket, installationId);
      // A handshake that began before a root was retired is verified by that root as well.
      if (this.#issuers?.has(identity.issuerKey) === false) {
        throw new FairleadError('CERT_UNKNOWN', 'the certificate is of a root that is not trusted any more');
      }
      this.#peers.add(socket, identity, HELLO_TIMEOUT_MS);
    } catch (error) {
      if (!isFairleadError(error)) throw error;
      const address = socket.remoteAddress ?? '';
      log.warn({ address, reason: error.message }, 'an agent connection was refused');
      this.#options.onRefused?.({ error, address, serial: peerSerial(socket) });
      socket.destroy();
    }
  }

  async #upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): Promise<void> {
    const peer = this.#peers.get(socket);
    if (peer === undefined) return void socket.destroy();
    const refusal = wrongRequest(request) ?? (await this.#refusal(peer));
    if (refusal !== undefined) return refuseUpgrade(socket, refusal);
    if (socket.destroyed) return;
    peer.isRefused = false;
    this.#webSockets.handleUpgrade(request, socket, head, (ws) => {
      const { address } = peer;
      startSession(ws, peer, this.#options)
        .then((link) => {
          peer.link = link;
          this.#door.leave(socket);
          peer.deadline?.cancel();
          peer.deadline = undefined;
        })
        .catch((error: unknown) => {
          const reason = error instanceof Error ? error.message : String(error);
          this.#options.log.warn({ hostId: peer.identity.hostId, address, reason }, 'an agent session did not start');
        });
    });
  }

  /** Two machines with one certificate, or an agent gone wild, must not keep the server busy with sessions. */
  #mayStart(hostId: string): boolean {
    const now = this.#options.clock.monotonic();
    const starts = this.#starts.get(hostId) ?? new Budget(SESSIONS_PER_SECOND, SESSION_BURST, now);
    keepRecent(this.#starts, hostId, starts, MAX_STARTS);
    return starts.take(now);
  }

  /** Requests that are no upgrade: an agent that proves a new certificate, or somebody who has lost the way. */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    const peer = this.#peers.get(request.socket as TLSSocket);
    if (peer === undefined || request.method !== 'POST' || request.url !== ACTIVATE_PATH) {
      response.writeHead(426, { 'content-type': 'text/plain', upgrade: 'websocket', connection: 'close' });
      response.end('this port is for Fairlead agents\n');
      return;
    }
    const refusal = await this.#refusal(peer);
    if (refusal === undefined) {
      response.writeHead(204, { connection: 'close' }).end();
      return;
    }
    refuseRequest(response, refusal);
  }

  /** Why a peer may not open a session, which is reported; taking its certificate into use if it may. */
  async #refusal(peer: Peer): Promise<FairleadError | undefined> {
    const error = await this.#look(peer);
    if (error === undefined) return undefined;
    const { identity, address } = peer;
    const { hostId, serial } = identity;
    this.#options.log.warn({ hostId, code: error.code }, error.message);
    this.#options.onRefused?.({ error, address, hostId, serial });
    return error;
  }

  async #look(peer: Peer): Promise<FairleadError | undefined> {
    const { identity, address } = peer;
    const { isActive, isForged, refusal, use } = this.#options;
    // Before anything is said or done in the name of its host.
    if (await isForged(identity)) {
      peer.isRefused = true;
      return new FairleadError(
        'CERT_UNKNOWN',
        'the certificate has the serial of another one, and was not issued here',
      );
    }
    if (!isActive(identity.serial)) {
      peer.isRefused = true;
      return await refusal(identity.serial, address);
    }
    if (!this.#mayStart(identity.hostId)) return tooManySessions();
    try {
      await use(identity, address);
    } catch (error) {
      if (isFairleadError(error)) return error;
      throw error;
    }
    return isActive(identity.serial) ? undefined : await refusal(identity.serial, address);
  }
}

/** Why a request is none for a session, whoever sends it. */
function wrongRequest(request: IncomingMessage): FairleadError | undefined {
  if (request.url !== '/agent') return new FairleadError('NOT_FOUND', 'agents connect to /agent');
  const offered = String(request.headers['sec-websocket-protocol'] ?? '').split(/\s*,\s*/);
  if (offered.includes(SUBPROTOCOL)) return undefined;
  return new FairleadError('VERSION', `this server speaks the subprotocol ${SUBPROTOCOL}`);
}

function tooManySessions(): FairleadError {
  const retryAfterSeconds = Math.ceil(1 / SESSIONS_PER_SECOND);
  return new FairleadError('RATE_LIMITED', 'this host begins sessions too often: is its certificate on two machines?', {
    retryAfterSeconds,
  });
}
