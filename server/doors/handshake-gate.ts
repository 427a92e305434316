/**
 * Stands before TLS: bounds how many connections may be on their way to a session, in all and per address, and how many
 * of them at a time, so that a fleet that comes back at once is served one after the other, each within its patience.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../shared/clock.ts';
import { networkOf } from '../../shared/network.ts';
import { Attempts } from './attempts.ts';
import { HANDSHAKE_LIMITS, type HandshakeLimits } from './limits.ts';
import { connectionKey, type Endpoint } from './source.ts';

export interface HandshakeGateOptions {
  /** Begins the handshake of a connection that has not been read from. */
  readonly begin: (socket: Socket) => void;
  readonly clock: Pick<Clock, 'monotonic' | 'setTimeout'>;
  readonly limits?: HandshakeLimits;
}

interface Pending {
  readonly socket: Socket;
  readonly address: string;
}

interface Handshake {
  readonly at: number;
  readonly address: string;
}

export class HandshakeGate {
  readonly #begin: (socket: Socket) => void;
  readonly #clock: HandshakeGateOptions['clock'];
  readonly #limits: HandshakeLimits;
  /** Connections without a session, by address and port; the oldest first. */
  readonly #pending = new Map<string, Pending>();
  readonly #perAddress = new Map<string, number>();
  /**
   * Those that have not begun, with the time since when they wait, the oldest first; by address, the one whose turn it
   * is first: an address that sends many has to wait for itself alone.
   */
  readonly #waiting = new Map<string, Map<string, number>>();
  /** Those that are under way and not slow yet, the oldest first, with the time when they began. */
  readonly #underWay = new Map<string, Handshake>();
  readonly #underWayOf = new Map<string, number>();
  /** When each of `#pending` began that has, the oldest first. */
  readonly #begun = new Map<string, number>();
  readonly #attempts: Attempts;
  /** Looks again once the oldest of `#underWay` is slow; runs only while others wait. */
  #timer: Timer | undefined;

  constructor(options: HandshakeGateOptions) {
    this.#begin = options.begin;
    this.#clock = options.clock;
    this.#limits = options.limits ?? HANDSHAKE_LIMITS;
    this.#attempts = new Attempts(this.#limits);
  }

  /** Connections without a session, begun or not. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Everything that is remembered of connections and addresses, in entries. */
  get remembered(): number {
    const maps = [
      this.#pending,
      this.#perAddress,
      this.#underWay,
      this.#underWayOf,
      this.#begun,
      ...this.#waiting.values(),
    ];
    return maps.reduce((sum, map) => sum + map.size, this.#waiting.size + this.#attempts.size);
  }

  /**
   * Begins or queues a new connection, or destroys it if too many are pending.
   * @param remoteAddress where it really comes from, if it comes through a balancer
   * @returns whether it may go on
   */
  enter(socket: Socket, remoteAddress = socket.remoteAddress): boolean {
    const key = connectionKey(socket);
    // A connection that waits is not read, so that its end may not have been seen when its port comes again.
    const stale = this.#pending.get(key);
    if (stale !== undefined) this.#drop(key, stale.socket);
    const address = networkOf(remoteAddress);
    if (address === undefined || !this.#makeRoom(address)) {
      socket.destroy();
      return false;
    }
    this.#pending.set(key, { socket, address });
    this.#perAddress.set(address, this.#countOf(address) + 1);
    this.#wait(key, address);
    socket.once('close', () => this.#leave(key, socket));
    this.#beginNext();
    return true;
  }

  /** The handshake of a connection is done: it keeps nobody waiting any more, and still counts. Idempotent. */
  shaken(endpoint: Endpoint): void {
    if (this.#end(connectionKey(endpoint))) this.#beginNext();
  }

  /** A connection has what it came for; one that ends without it need not be told. Idempotent. */
  leave(endpoint: Endpoint): void {
    const key = connectionKey(endpoint);
    const pending = this.#pending.get(key);
    if (pending === undefined) return;
    this.#attempts.finish(pending.address);
    this.#leave(key);
  }

  /** Destroys all that is pending. */
  close(): void {
    this.#waiting.clear();
    for (const { socket } of this.#pending.values()) socket.destroy();
    this.#stopTimer();
  }

  #countOf(address: string): number {
    return this.#perAddress.get(address) ?? 0;
  }

  /**
   * Whether there is room for one more of `address`; when all places are taken, the address with the most gives up its
   * oldest, or, if no address has more than this one, whoever is overdue: many addresses may be one sender's.
   */
  #makeRoom(address: string): boolean {
    const count = this.#countOf(address);
    if (count >= this.#limits.perAddress) return false;
    if (this.#pending.size < this.#limits.total) return true;
    const [busiest, most] = [...this.#perAddress].reduce((one, other) => (other[1] > one[1] ? other : one));
    if (most <= count + 1) return this.#dropOverdue();
    for (const [key, pending] of this.#pending) {
      if (pending.address !== busiest) continue;
      this.#drop(key, pending.socket);
      break;
    }
    return true;
  }

  /** Drops the connection that began longest ago, if it should be through by now. @returns whether it did */
  #dropOverdue(): boolean {
    const [oldest] = this.#begun;
    if (oldest === undefined) return false;
    const [key, at] = oldest;
    const pending = this.#pending.get(key);
    if (pending === undefined || at > this.#clock.monotonic() - this.#limits.overdueMs) return false;
    this.#drop(key, pending.socket);
    return true;
  }

  #drop(key: string, socket: Socket): void {
    this.#leave(key, socket);
    socket.destroy();
  }

  #wait(key: string, address: string): void {
    const queue = this.#waiting.get(address) ?? new Map<string, number>();
    queue.set(key, this.#clock.monotonic());
    this.#waiting.set(address, queue);
  }

  /** Begins connections that wait, one of each address in turn, as far as there are places. */
  #beginNext(): void {
    const now = this.#clock.monotonic();
    for (const [key, { at }] of this.#underWay) {
      if (at >= now - this.#limits.slowMs) break;
      this.#end(key);
    }
    while (this.#underWay.size < this.#limits.atOnce) {
      const key = this.#nextWaiting(now);
      if (key === undefined) break;
      const pending = this.#pending.get(key);
      if (pending === undefined) continue;
      this.#underWay.set(key, { at: now, address: pending.address });
      this.#begun.set(key, now);
      this.#underWayOf.set(pending.address, (this.#underWayOf.get(pending.address) ?? 0) + 1);
      this.#begin(pending.socket);
    }
    if (this.#waiting.size === 0) this.#stopTimer();
    else this.#timer ??= this.#clock.setTimeout(() => this.#onTimer(), this.#limits.slowMs);
  }

  /** Takes a handshake off those that are under way. @returns whether it was one */
  #end(key: string): boolean {
    const handshake = this.#underWay.get(key);
    if (handshake === undefined) return false;
    this.#underWay.delete(key);
    lower(this.#underWayOf, handshake.address);
    return true;
  }

  /** The connection whose turn it is. Those that have waited too long by `now` are destroyed. */
  #nextWaiting(now: number): string | undefined {
    for (const [address, queue] of this.#waiting) {
      for (const key of dropOlder(queue, now - this.#limits.waitMs)) this.#pending.get(key)?.socket.destroy();
      const [key] = queue.keys();
      if (key !== undefined && !this.#mayBegin(address, now)) continue;
      // Behind the others.
      this.#waiting.delete(address);
      if (key === undefined) continue;
      queue.delete(key);
      if (queue.size > 0) this.#waiting.set(address, queue);
      return key;
    }
    return undefined;
  }

  #mayBegin(address: string, now: number): boolean {
    const underWay = this.#underWayOf.get(address) ?? 0;
    if (underWay >= this.#limits.atOnceOfAddress) return false;
    return this.#attempts.begin(address, now) || underWay === 0;
  }

  #onTimer(): void {
    this.#timer = undefined;
    this.#beginNext();
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** @param socket the one that has left, if another may have its port by now */
  #leave(key: string, socket?: Socket): void {
    const pending = this.#pending.get(key);
    if (pending === undefined || (socket !== undefined && pending.socket !== socket)) return;
    const { address } = pending;
    this.#pending.delete(key);
    this.#begun.delete(key);
    const queue = this.#waiting.get(address);
    if (queue?.delete(key) === true && queue.size === 0) this.#waiting.delete(address);
    lower(this.#perAddress, address);
    if (this.#end(key)) this.#beginNext();
  }
}

/** Counts one less of `key`; what comes to nothing takes no room. */
function lower(counts: Map<string, number>, key: string): void {
  const count = (counts.get(key) ?? 0) - 1;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}

/** Deletes the entries of before `time` from a map in the order of time. @returns their keys */
function dropOlder(times: Map<string, number>, time: number): string[] {
  const dropped: string[] = [];
  for (const [key, at] of times) {
    if (at >= time) break;
    times.delete(key);
    dropped.push(key);
  }
  return dropped;
}
