/**
 * Places for open connections. One that carries the request of somebody who is known is in use and keeps its place; of the
 * others an address may have so many, and when all places are taken, the one that was in use or came longest ago gives way.
 */
import type { Socket } from 'node:net';
import { networkOf } from '../../shared/network.ts';
import { connectionKey, type Endpoint } from './source.ts';

export interface PlaceLimits {
  /** Connections, in use or not. */
  readonly total: number;
  /** Of one address those that are not in use: whoever has more gives up its own. Of IPv6 a /64 is one address. */
  readonly idleOfAddress: number;
  /** In use by one and the same: those beyond are treated as if they were not in use. */
  readonly inUseOfOne: number;
}

/** A request that keeps a place. */
interface Use {
  readonly who: string;
}

interface Place {
  readonly socket: Socket;
  readonly network: string;
  readonly uses: Set<Use>;
}

export class Places {
  readonly #limits: PlaceLimits;
  /** By connection. */
  readonly #all = new Map<string, Place>();
  /** Those that are not in use, the one that waits for longest first. */
  readonly #idle = new Map<string, Place>();
  /** The same by address. */
  readonly #idleOf = new Map<string, Map<string, Place>>();
  /** How many uses there are, by whom. */
  readonly #usesOf = new Map<string, number>();

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
    return this.#all.size + this.#idle.size + ofAddresses + this.#usesOf.size;
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
    const place = { socket, network, uses: new Set<Use>() };
    this.#all.set(key, place);
    this.#rest(key, place);
    socket.once('close', () => {
      if (this.#all.get(key) === place) this.#forget(key, place);
    });
    return true;
  }

  /**
   * Has a connection keep its place.
   * @param who names whoever uses it
   * @returns what ends that, idempotent; the end of the connection does, too
   */
  use(endpoint: Endpoint, who: string): () => void {
    const key = connectionKey(endpoint);
    const place = this.#all.get(key);
    const uses = this.#usesOf.get(who) ?? 0;
    if (place === undefined || uses >= this.#limits.inUseOfOne) return () => undefined;
    this.#usesOf.set(who, uses + 1);
    const use = { who };
    place.uses.add(use);
    this.#wake(key, place);
    return () => {
      if (!place.uses.has(use)) return;
      this.#endUse(place, use);
      if (place.uses.size === 0 && this.#all.get(key) === place) this.#rest(key, place);
    };
  }

  #endUse(place: Place, use: Use): void {
    place.uses.delete(use);
    const left = (this.#usesOf.get(use.who) ?? 0) - 1;
    if (left > 0) this.#usesOf.set(use.who, left);
    else this.#usesOf.delete(use.who);
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
    for (const use of place.uses) this.#endUse(place, use);
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
