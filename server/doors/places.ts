/**
 * Places for open connections. One that carries the request of somebody who is known is in use and keeps its place; of the
 * others an address may have so many, and when all places are taken, the one that was in use or came longest ago gives way.
 */
import type { Socket } from 'node:net';
import { networkOf } from './network.ts';
import { connectionKey, type Endpoint } from './source.ts';

export interface PlaceLimits {
  /** Connections, in use or not. */
  readonly total: number;
  /** Of one address those that are not in use: whoever has more gives up its own. Of IPv6 a /64 is one address. */
  readonly idleOfAddress: number;
}

interface Place {
  readonly socket: Socket;
  readonly network: string;
  /** Requests that keep it. */
  uses: number;
}

export class Places {
  readonly #limits: PlaceLimits;
  /** By connection. */
  readonly #all = new Map<string, Place>();
  /** Those that are not in use, the one that waits for longest first. */
  readonly #idle = new Map<string, Place>();
  /** The same by address. */
  readonly #idleOf = new Map<string, Map<string, Place>>();

  constructor(limits: PlaceLimits) {
    this.#limits = limits;
  }

  /** Connections that have a place. */
  get taken(): number {
    return this.#all.size;
  }

  /** Everything that is remembered, in entries. */
  get remembered(): number {
    const ofAddresses = [...this.#idleOf.values()].reduce((sum, { size }) => sum + size, this.#idleOf.size);
    return this.#all.size + this.#idle.size + ofAddresses;
  }

  /**
   * Gives a new connection a place, or destroys it when all are in use.
   * @param remoteAddress where it really comes from, if it comes through a balancer
   * @returns whether it has one
   */
  take(socket: Socket, remoteAddress = socket.remoteAddress): boolean {
    const key = connectionKey(socket);
    const network = networkOf(remoteAddress);
    // Its port comes again before its end was seen.
    this.#drop(key);
    if (network === undefined || !this.#makeRoom(network)) {
      socket.destroy();
      return false;
    }
    const place = { socket, network, uses: 0 };
    this.#all.set(key, place);
    this.#rest(key, place);
    socket.once('close', () => {
      if (this.#all.get(key) === place) this.#forget(key, place);
    });
    return true;
  }

  /** Has a connection keep its place. @returns what ends that, idempotent */
  use(endpoint: Endpoint): () => void {
    const key = connectionKey(endpoint);
    const place = this.#all.get(key);
    if (place === undefined) return () => undefined;
    place.uses += 1;
    this.#wake(key, place);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      place.uses -= 1;
      if (place.uses === 0 && this.#all.get(key) === place) this.#rest(key, place);
    };
  }

  #makeRoom(network: string): boolean {
    const own = this.#idleOf.get(network);
    const crowded = own !== undefined && own.size >= this.#limits.idleOfAddress ? own : undefined;
    const full = this.#all.size >= this.#limits.total ? this.#idle : undefined;
    const from = crowded ?? full;
    if (from === undefined) return true;
    const [oldest] = from.keys();
    if (oldest === undefined) return false;
    this.#drop(oldest);
    return true;
  }

  #drop(key: string): void {
    const place = this.#all.get(key);
    if (place === undefined) return;
    this.#forget(key, place);
    place.socket.destroy();
  }

  #forget(key: string, place: Place): void {
    this.#all.delete(key);
    this.#wake(key, place);
  }

  /** Puts a connection behind all others that are not in use. */
  #rest(key: string, place: Place): void {
    this.#idle.set(key, place);
    const own = this.#idleOf.get(place.network) ?? new Map<string, Place>();
    own.set(key, place);
    this.#idleOf.set(place.network, own);
  }

  #wake(key: string, { network }: Place): void {
    this.#idle.delete(key);
    const own = this.#idleOf.get(network);
    if (own?.delete(key) === true && own.size === 0) this.#idleOf.delete(network);
  }
}
