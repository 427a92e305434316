/** The sockets of the agents' port whose certificate was accepted: who is behind each, until when, and what ends them. */
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { SessionPeer } from './agent-session.ts';
import type { NativeLink } from './native-link.ts';
import type { PeerIdentity } from './peer-identity.ts';

/** How long a farewell may take to leave before its socket is destroyed. */
const FAREWELL_MS = 250;
/** How often expired certificates are looked for: by the wall clock, which jumps when a machine slept or NTP sets it. */
const SWEEP_MS = 2_000;

export interface Peer extends SessionPeer {
  /** Destroys the socket unless a session starts in time; let go of once it has. */
  deadline: Timer | undefined;
  link?: NativeLink;
  /** It gets no session, and its socket ends with the answer that says why. */
  isRefused?: boolean;
}

export class Peers {
  readonly #clock: Clock;
  readonly #sockets = new Map<TLSSocket, Peer>();
  /** The same by host, so that many can be revoked at once. */
  readonly #ofHost = new Map<string, Set<TLSSocket>>();
  readonly #sweep: Timer;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sweep = clock.setInterval(() => this.#endExpired(), SWEEP_MS);
  }

  /** Keeps `socket` until it closes. It is destroyed after `patienceMs` unless its peer's deadline is cancelled. */
  add(socket: TLSSocket, identity: PeerIdentity, patienceMs: number): void {
    const deadline = this.#clock.setTimeout(() => socket.destroy(), patienceMs);
    const peer: Peer = { identity, address: socket.remoteAddress ?? '', deadline };
    const { hostId } = identity;
    this.#sockets.set(socket, peer);
    this.#ofHost.set(hostId, (this.#ofHost.get(hostId) ?? new Set()).add(socket));
    socket.once('close', () => {
      peer.deadline?.cancel();
      this.#sockets.delete(socket);
      const others = this.#ofHost.get(hostId);
      if (others?.delete(socket) === true && others.size === 0) this.#ofHost.delete(hostId);
    });
  }

  get(socket: TLSSocket): Peer | undefined {
    return this.#sockets.get(socket);
  }

  *links(): IterableIterator<NativeLink> {
    for (const peer of this.#sockets.values()) if (peer.link !== undefined) yield peer.link;
  }

  /** Ends what a host, or one of its certificates, holds: sessions with a goaway of `code`, then every socket. */
  disconnect(target: { hostId: string; serial?: string }, code: ErrorCode, reason: string): void {
    for (const [socket, peer] of this.#peersOf(target.hostId)) {
      if (peer.isRefused === true) continue;
      if (target.serial !== undefined && peer.identity.serial !== target.serial) continue;
      this.#end(socket, peer, code, reason);
    }
  }

  /**
   * The host has used `identity`, and so superseded other certificates of its. The session that asked for it goes on under
   * it; whatever else one of the others opened ends.
   */
  succeed(identity: PeerIdentity, superseded: readonly string[]): void {
    for (const [socket, peer] of this.#peersOf(identity.hostId)) {
      if (!superseded.includes(peer.identity.serial)) continue;
      // It began before, serves nothing, and ends soon by itself.
      if (peer.link?.isTrial === true) continue;
      if (peer.link !== undefined && peer.successor === identity.serial) peer.identity = identity;
      else this.#end(socket, peer, 'CERT_UNKNOWN', 'the certificate of this session was superseded by another one');
    }
  }

  /** Ends whatever was opened by a certificate of none of `issuers`, the key identifiers of CAs in hex. */
  endUnlessOf(issuers: ReadonlySet<string>): void {
    for (const [socket, peer] of this.#sockets) {
      if (issuers.has(peer.identity.issuerKey)) continue;
      this.#end(socket, peer, 'CERT_UNKNOWN', 'the certificate is of a root that is not trusted any more');
    }
  }

  /** Destroys all sockets and looks for none any more. */
  close(): void {
    this.#sweep.cancel();
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  *#peersOf(hostId: string): IterableIterator<[TLSSocket, Peer]> {
    for (const socket of this.#ofHost.get(hostId) ?? []) {
      const peer = this.#sockets.get(socket);
      if (peer !== undefined) yield [socket, peer];
    }
  }

  #endExpired(): void {
    const now = this.#clock.now();
    for (const [socket, peer] of this.#sockets) {
      if (now >= peer.identity.notAfter) this.#end(socket, peer, 'CERT_EXPIRED', 'the certificate has expired');
    }
  }

  /** A farewell gets a moment to leave; a peer that does not read it is cut off all the same. */
  #end(socket: TLSSocket, { link }: Peer, code: ErrorCode, reason: string): void {
    link?.close(code, reason);
    if (link === undefined) socket.destroy();
    else this.#clock.setTimeout(() => socket.destroy(), FAREWELL_MS);
  }
}
