/** The agents' port: mutual TLS 1.3, one WebSocket per agent, from the handshake to a link in the registry. */
import { constants } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';
import type { Clock, Timer } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { GOAWAY_DEADLINE_MS, HELLO_TIMEOUT_MS } from '../../shared/limits.ts';
import { SUBPROTOCOL } from '../../shared/messages/index.ts';
import { Budget } from '../../shared/mux/budget.ts';
import { WS_OPTIONS } from '../../shared/mux/ws-transport.ts';
import { type SessionDeps, startSession } from './agent-session.ts';
import { HandshakeGate } from './handshake-gate.ts';
import type { NativeLink } from './native-link.ts';
import { type PeerIdentity, peerIdentity } from './peer-identity.ts';
import { refuseUpgrade } from './refuse-upgrade.ts';
import { sendTrust } from './trust-news.ts';

/** How long a revoked session's goaway may take to leave before its socket is destroyed. */
const FAREWELL_MS = 250;

export interface AgentListenerOptions extends Omit<SessionDeps, 'clock' | 'log'> {
  readonly clock: Clock;
  readonly log: Logger;
  readonly installationId: string;
  /** The roots and intermediates by which agents' certificates are verified. */
  readonly caPem: string;
  readonly tls: { key: string; cert: string };
  /** The allow-list: whether a certificate's serial is an active one. */
  isActive(serial: string): boolean;
  /** Why a serial is not active, for the agent to read. */
  refusal(serial: string): Promise<FairleadError>;
}

/** Sessions that one host may begin: a restart or a bad link never needs more. */
const SESSIONS_PER_SECOND = 0.5;
const SESSION_BURST = 40;

interface Peer {
  readonly identity: PeerIdentity;
  /** Destroys the socket unless a session starts in time; let go of once it has. */
  deadline: Timer | undefined;
  link?: NativeLink;
}

export class AgentListener {
  readonly #options: AgentListenerOptions;
  /** Accepts connections, which are not read from before the gate lets them through to `#server`. */
  readonly #port: TcpServer;
  readonly #server: Server;
  readonly #webSockets: WebSocketServer;
  /** Every socket whose certificate was accepted; a revocation finds them here, with or without a session. */
  readonly #peers = new Map<TLSSocket, Peer>();
  readonly #gate: HandshakeGate;
  /** How often each host may begin a session; as many entries as there are hosts with an active certificate. */
  readonly #starts = new Map<string, Budget>();

  #tls: { key: string; cert: string };
  #caPem: string;

  constructor(options: AgentListenerOptions) {
    this.#options = options;
    this.#tls = options.tls;
    this.#caPem = options.caPem;
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
    this.#gate = new HandshakeGate({
      begin: (socket) => this.#server.emit('connection', socket),
      clock: options.clock,
    });
    this.#port = createTcpServer({ pauseOnConnect: true }, (socket) => {
      socket.on('error', (error) => options.log.debug({ err: error }, 'agent connection'));
      this.#gate.enter(socket);
    });
    this.#server.on('tlsClientError', (error, socket) => {
      this.#gate.leave(socket);
      options.log.debug({ err: error, address: socket.remoteAddress }, 'TLS handshake refused');
      socket.destroy();
    });
    this.#server.on('secureConnection', (socket) => this.#admit(socket));
    this.#server.on('request', (_request, response) => {
      response.writeHead(426, { 'content-type': 'text/plain', upgrade: 'websocket', connection: 'close' });
      response.end('this port is for Fairlead agents\n');
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
    this.#setContext();
    for (const link of this.links()) sendTrust(link, this.#options.trust);
    for (const { identity } of this.#peers.values()) {
      if (issuers.has(identity.issuerKey)) continue;
      this.disconnect(identity, 'CERT_UNKNOWN', 'the certificate is of a root that is not trusted any more');
    }
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
    for (const [socket, peer] of this.#peers) {
      if (peer.identity.hostId !== target.hostId) continue;
      if (target.serial !== undefined && peer.identity.serial !== target.serial) continue;
      peer.link?.close(code, reason);
      // The goaway gets a moment to leave; a peer that does not read it is cut off all the same.
      if (peer.link === undefined) socket.destroy();
      else this.#options.clock.setTimeout(() => socket.destroy(), FAREWELL_MS);
    }
  }

  /** The links whose sessions run on this listener. */
  *links(): IterableIterator<NativeLink> {
    for (const peer of this.#peers.values()) if (peer.link !== undefined) yield peer.link;
  }

  /** Stops listening, tells every agent to come back after a spread of up to `spreadMs`, and waits for their streams. */
  async close(spreadMs: number, deadlineMs = GOAWAY_DEADLINE_MS): Promise<void> {
    const stopped = new Promise<void>((resolve) => this.#port.close(() => resolve()));
    this.#gate.close();
    const farewells = [...this.links()].map((link) =>
      link.session.goaway({
        code: 'SHUTDOWN',
        reason: 'the server is stopping',
        retryAfterMs: Math.round(this.#options.random() * spreadMs),
        deadlineMs,
      }),
    );
    await Promise.all(farewells);
    for (const socket of this.#peers.keys()) socket.destroy();
    await stopped;
  }

  /** Synchronous on purpose: between the handshake and the allow-list nothing can slip in. */
  #admit(socket: TLSSocket): void {
    const { clock, log, installationId } = this.#options;
    socket.setNoDelay(true);
    socket.on('error', (error) => log.debug({ err: error }, 'agent socket'));
    try {
      const identity = peerIdentity(socket, installationId);
      const peer: Peer = { identity, deadline: clock.setTimeout(() => socket.destroy(), HELLO_TIMEOUT_MS) };
      this.#peers.set(socket, peer);
      socket.once('close', () => {
        peer.deadline?.cancel();
        this.#peers.delete(socket);
      });
    } catch (error) {
      if (!isFairleadError(error)) throw error;
      log.warn({ address: socket.remoteAddress, reason: error.message }, 'an agent connection was refused');
      socket.destroy();
    }
  }

  async #upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): Promise<void> {
    const peer = this.#peers.get(socket);
    if (peer === undefined) return void socket.destroy();
    const refusal = await this.#refusal(request, peer.identity);
    if (refusal !== undefined) {
      this.#options.log.warn({ hostId: peer.identity.hostId, code: refusal.code }, refusal.message);
      return refuseUpgrade(socket, refusal);
    }
    if (socket.destroyed) return;
    this.#webSockets.handleUpgrade(request, socket, head, (ws) => {
      const address = socket.remoteAddress ?? '';
      startSession(ws, { identity: peer.identity, address }, this.#options)
        .then((link) => {
          peer.link = link;
          this.#gate.leave(socket);
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
    let starts = this.#starts.get(hostId);
    if (starts === undefined) {
      starts = new Budget(SESSIONS_PER_SECOND, SESSION_BURST, now);
      this.#starts.set(hostId, starts);
    }
    return starts.take(now);
  }

  async #refusal(request: IncomingMessage, identity: PeerIdentity): Promise<FairleadError | undefined> {
    if (request.url !== '/agent') return new FairleadError('NOT_FOUND', 'agents connect to /agent');
    const offered = String(request.headers['sec-websocket-protocol'] ?? '').split(/\s*,\s*/);
    if (!offered.includes(SUBPROTOCOL)) {
      return new FairleadError('VERSION', `this server speaks the subprotocol ${SUBPROTOCOL}`);
    }
    if (!this.#options.isActive(identity.serial)) return await this.#options.refusal(identity.serial);
    return this.#mayStart(identity.hostId) ? undefined : tooManySessions();
  }
}

function tooManySessions(): FairleadError {
  const retryAfterSeconds = Math.ceil(1 / SESSIONS_PER_SECOND);
  return new FairleadError('RATE_LIMITED', 'this host begins sessions too often: is its certificate on two machines?', {
    retryAfterSeconds,
  });
}
