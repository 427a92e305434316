/** Holds back floods before TLS: how many handshakes may be under way, in all and per address. */
import type { Socket } from 'node:net';

export interface HandshakeLimits {
  readonly total: number;
  /** Hosts behind one NAT share an address, and come back together after a restart. */
  readonly perAddress: number;
}

const DEFAULT_LIMITS: HandshakeLimits = { total: 1024, perAddress: 256 };

/** What TCP and TLS sockets of one connection have in common. */
type Endpoint = Pick<Socket, 'remoteAddress' | 'remotePort'>;

export class HandshakeGate {
  readonly #limits: HandshakeLimits;
  /** Connections whose handshake is under way, by address and port, with their address. */
  readonly #pending = new Map<string, string>();
  readonly #perAddress = new Map<string, number>();

  constructor(limits: HandshakeLimits = DEFAULT_LIMITS) {
    this.#limits = limits;
  }

  /** Handshakes under way. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Counts a new connection in, or destroys it if too many handshakes are under way. @returns whether it may go on */
  enter(socket: Socket): boolean {
    const address = socket.remoteAddress ?? '';
    const count = this.#perAddress.get(address) ?? 0;
    if (this.#pending.size >= this.#limits.total || count >= this.#limits.perAddress) {
      socket.destroy();
      return false;
    }
    const key = keyOf(socket);
    this.#pending.set(key, address);
    this.#perAddress.set(address, count + 1);
    socket.once('close', () => this.#leave(key));
    return true;
  }

  /** The handshake of a connection is over, well or badly. Idempotent. */
  leave(endpoint: Endpoint): void {
    this.#leave(keyOf(endpoint));
  }

  #leave(key: string): void {
    const address = this.#pending.get(key);
    if (address === undefined) return;
    this.#pending.delete(key);
    const count = (this.#perAddress.get(address) ?? 1) - 1;
    if (count === 0) this.#perAddress.delete(address);
    else this.#perAddress.set(address, count);
  }
}

function keyOf({ remoteAddress, remotePort }: Endpoint): string {
  return `${remoteAddress} ${remotePort}`;
}
