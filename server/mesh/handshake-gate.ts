/**
 * Stands before TLS: bounds how many connections may be on their way to a session, in all and per address, and how many
 * of them at a time, so that a fleet that comes back at once is served one after the other, each within its patience.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../shared/clock.ts';

export interface HandshakeLimits {
  /** Connections without a session yet, begun or not. */
  readonly total: number;
  /** Hosts behind one NAT or proxy share an address, and come back together after a restart. */
  readonly perAddress: number;
  /** Handshakes under way at a time. Each takes the event loop 1 to 2 ms, and all of them may come due in one turn. */
  readonly atOnce: number;
  /** A handshake that takes longer, in ms, no longer keeps others waiting: its peer is silent or far away. With `atOnce` it allows 320 a second even then. */
  readonly slowMs: number;
  /** How long a connection may wait to begin, in ms: agents give up an attempt after 10 s, and then its work is lost. */
  readonly waitMs: number;
}

const DEFAULT_LIMITS: HandshakeLimits = { total: 2048, perAddress: 1024, atOnce: 32, slowMs: 100, waitMs: 5_000 };

/** What TCP and TLS sockets of one connection have in common. */
type Endpoint = Pick<Socket, 'remoteAddress' | 'remotePort'>;

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

export class HandshakeGate {
  readonly #begin: (socket: Socket) => void;
  readonly #clock: HandshakeGateOptions['clock'];
  readonly #limits: HandshakeLimits;
  /** Connections without a session, by address and port. */
  readonly #pending = new Map<string, Pending>();
  readonly #perAddress = new Map<string, number>();
  /** Those that have not begun, the oldest first, with the time since when they wait. */
  readonly #waiting = new Map<string, number>();
  /** Those that are under way and not slow yet, the oldest first, with the time when they began. */
  readonly #underWay = new Map<string, number>();
  /** Looks again once the oldest of `#underWay` is slow; runs only while others wait. */
  #timer: Timer | undefined;

  constructor(options: HandshakeGateOptions) {
    this.#begin = options.begin;
    this.#clock = options.clock;
    this.#limits = options.limits ?? DEFAULT_LIMITS;
  }

  /** Connections without a session, begun or not. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Begins or queues a new connection, or destroys it if too many are pending. @returns whether it may go on */
  enter(socket: Socket): boolean {
    const address = socket.remoteAddress ?? '';
    const count = this.#perAddress.get(address) ?? 0;
    if (this.#pending.size >= this.#limits.total || count >= this.#limits.perAddress) {
      socket.destroy();
      return false;
    }
    const key = keyOf(socket);
    this.#pending.set(key, { socket, address });
    this.#perAddress.set(address, count + 1);
    this.#waiting.set(key, this.#clock.monotonic());
    socket.once('close', () => this.#leave(key));
    this.#beginNext();
    return true;
  }

  /** A connection has its session, or will have none. Idempotent. */
  leave(endpoint: Endpoint): void {
    this.#leave(keyOf(endpoint));
  }

  /** Destroys all that is pending. */
  close(): void {
    this.#waiting.clear();
    for (const { socket } of this.#pending.values()) socket.destroy();
    this.#stopTimer();
  }

  /** Begins the oldest connections that wait, as far as there are places. */
  #beginNext(): void {
    const now = this.#clock.monotonic();
    dropOlder(this.#underWay, now - this.#limits.slowMs);
    for (const key of dropOlder(this.#waiting, now - this.#limits.waitMs)) this.#pending.get(key)?.socket.destroy();
    for (const key of this.#waiting.keys()) {
      if (this.#underWay.size >= this.#limits.atOnce) break;
      this.#waiting.delete(key);
      this.#underWay.set(key, now);
      const socket = this.#pending.get(key)?.socket;
      if (socket !== undefined) this.#begin(socket);
    }
    if (this.#waiting.size === 0) this.#stopTimer();
    else this.#timer ??= this.#clock.setTimeout(() => this.#onTimer(), this.#limits.slowMs);
  }

  #onTimer(): void {
    this.#timer = undefined;
    this.#beginNext();
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #leave(key: string): void {
    const address = this.#pending.get(key)?.address;
    if (address === undefined) return;
    this.#pending.delete(key);
    this.#waiting.delete(key);
    const count = (this.#perAddress.get(address) ?? 1) - 1;
    if (count === 0) this.#perAddress.delete(address);
    else this.#perAddress.set(address, count);
    if (this.#underWay.delete(key)) this.#beginNext();
  }
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

function keyOf({ remoteAddress, remotePort }: Endpoint): string {
  return `${remoteAddress} ${remotePort}`;
}
