/** When the bytes of one direction of a slow link arrive: a queue, a wire with a rate, and a delay, on a clock that is told. */

/** One direction of a link. */
export interface LinkSettings {
  /** Bytes per second; Infinity for a link with a delay only. */
  readonly rate: number;
  /** One way, in ms. */
  readonly delayMs: number;
}

/** What leaves and arrives as one: the payload of an Ethernet frame. */
export const PACKET_BYTES = 1_500;
/** The queue before the wire holds this and what the wire itself holds: one one-way bandwidth × delay. */
export const QUEUE_SLACK_BYTES = 64 * 1024;
/** Queue and wire together, whatever the settings say. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

interface Waiting {
  data: Buffer;
  readonly since: number;
}

interface Packet {
  readonly data: Buffer;
  readonly arrivesAt: number;
}

/**
 * Times are those of a monotonic clock in ms and never go back from call to call. A call that comes late loses nothing:
 * every packet leaves and arrives at the time it would have, and is handed out at the next call.
 */
export class LinkSchedule {
  #settings: LinkSettings;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #flying: Packet[] = [];
  #flyingBytes = 0;
  /** When the wire takes the next packet. */
  #freeAt = 0;
  #lastArrival = 0;
  #frozenAt: number | undefined;
  /** The link's own time stands still while it is frozen; this is how far it is behind. */
  #behindMs = 0;

  constructor(settings: LinkSettings) {
    this.#settings = checked(settings);
  }

  get settings(): LinkSettings {
    return this.#settings;
  }

  /** Bytes that wait for the wire. */
  get queuedBytes(): number {
    return this.#waitingBytes;
  }

  get heldBytes(): number {
    return this.#waitingBytes + this.#flyingBytes;
  }

  get queueLimitBytes(): number {
    const { rate, delayMs } = this.#settings;
    return Math.min(MAX_HELD_BYTES, QUEUE_SLACK_BYTES + (delayMs === 0 ? 0 : (rate * delayMs) / 1000));
  }

  /** Changes the link for what has not left yet; a packet on its way keeps its arrival, and none overtakes another. */
  set(now: number, settings: Partial<LinkSettings>): void {
    this.#depart(now);
    this.#settings = checked({ ...this.#settings, ...settings });
  }

  /** Nothing leaves and nothing arrives until `thaw`, after which everything goes on where it stood. */
  freeze(now: number): void {
    if (this.#frozenAt !== undefined) return;
    this.#depart(now);
    this.#frozenAt = now;
  }

  thaw(now: number): void {
    if (this.#frozenAt === undefined) return;
    this.#behindMs += now - this.#frozenAt;
    this.#frozenAt = undefined;
  }

  /** Bytes that the queue takes now. */
  room(now: number): number {
    this.#depart(now);
    const room = Math.min(this.queueLimitBytes - this.#waitingBytes, MAX_HELD_BYTES - this.heldBytes);
    return Math.max(0, Math.floor(room));
  }

  /** Puts bytes at the queue's end. @throws RangeError if they are more than there is room for */
  offer(now: number, data: Buffer): void {
    if (data.byteLength === 0) return;
    if (data.byteLength > this.room(now)) throw new RangeError(`no room for ${data.byteLength} bytes`);
    this.#waiting.push({ data, since: this.#linkTime(now) });
    this.#waitingBytes += data.byteLength;
    this.#depart(now);
  }

  /** What has arrived since the last call, in order. */
  take(now: number): Buffer[] {
    if (this.#frozenAt !== undefined) return [];
    this.#depart(now);
    const time = this.#linkTime(now);
    let count = 0;
    for (const { data, arrivesAt } of this.#flying) {
      if (arrivesAt > time) break;
      count += 1;
      this.#flyingBytes -= data.byteLength;
    }
    return this.#flying.splice(0, count).map(({ data }) => data);
  }

  /** When there is something to take or more room, unless more is offered; undefined while nothing moves. */
  get nextAt(): number | undefined {
    if (this.#frozenAt !== undefined) return undefined;
    const arrival = this.#flying[0]?.arrivesAt ?? Number.POSITIVE_INFINITY;
    const departure = this.#waiting.length > 0 ? this.#freeAt : Number.POSITIVE_INFINITY;
    const next = Math.min(arrival, departure);
    return next === Number.POSITIVE_INFINITY ? undefined : next + this.#behindMs;
  }

  #linkTime(now: number): number {
    return (this.#frozenAt ?? now) - this.#behindMs;
  }

  /** Moves to the wire what it has begun to send by now. */
  #depart(now: number): void {
    if (this.#frozenAt !== undefined) return;
    const time = this.#linkTime(now);
    const { rate, delayMs } = this.#settings;
    let taken = 0;
    for (const chunk of this.#waiting) {
      this.#freeAt = Math.max(this.#freeAt, chunk.since);
      while (chunk.data.byteLength > 0 && this.#freeAt <= time) {
        const data = chunk.data.subarray(0, PACKET_BYTES);
        chunk.data = chunk.data.subarray(data.byteLength);
        this.#freeAt += (data.byteLength / rate) * 1000;
        this.#lastArrival = Math.max(this.#lastArrival, this.#freeAt + delayMs);
        this.#flying.push({ data, arrivesAt: this.#lastArrival });
        this.#waitingBytes -= data.byteLength;
        this.#flyingBytes += data.byteLength;
      }
      if (chunk.data.byteLength > 0) break;
      taken += 1;
    }
    if (taken > 0) this.#waiting.splice(0, taken);
  }
}

function checked(settings: LinkSettings): LinkSettings {
  if (!(settings.rate > 0)) throw new RangeError(`a link of ${settings.rate} bytes per second`);
  if (!(settings.delayMs >= 0 && settings.delayMs <= 60_000)) throw new RangeError(`a delay of ${settings.delayMs} ms`);
  return settings;
}
