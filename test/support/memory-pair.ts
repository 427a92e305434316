/** Two transports joined in memory, whose link can be slow, paused, or cut. */
import type { Transport, TransportEnd, TransportEvents } from '../../shared/mux/transport.ts';

export interface MemoryPairOptions {
  /** From how many undelivered bytes on `send` answers false. */
  readonly highWaterBytes?: number;
}

/** What both ends share: whether messages pass. */
class Link {
  paused = false;
  readonly ends: MemoryTransport[] = [];

  flush(): void {
    for (const end of this.ends) end.deliver();
  }
}

export class MemoryTransport implements Transport {
  readonly #link: Link;
  readonly #highWaterBytes: number;
  readonly #closed = Promise.withResolvers<TransportEnd>();
  /** Messages on their way from here to the other end. */
  #outgoing: Uint8Array[] = [];
  #outgoingBytes = 0;
  #scheduled = false;
  #full = false;
  #stalled = false;
  #ended = false;
  #closing: { code: number; reason: string } | undefined;
  #events: TransportEvents | undefined;
  #maxMessageBytes = Number.POSITIVE_INFINITY;
  /** Every message that was sent from here, if `record` was called. */
  recorded: Uint8Array[] | undefined;
  /** The most bytes that ever waited here. */
  peakBytes = 0;
  /** Changes what arrives here, if it is set. */
  rewrite: ((message: Uint8Array) => Uint8Array) | undefined;

  constructor(link: Link, highWaterBytes: number) {
    this.#link = link;
    this.#highWaterBytes = highWaterBytes;
    link.ends.push(this);
  }

  get #peer(): MemoryTransport | undefined {
    return this.#link.ends.find((end) => end !== this);
  }

  get closed(): Promise<TransportEnd> {
    return this.#closed.promise;
  }

  get bufferedBytes(): number {
    return this.#outgoingBytes;
  }

  /** Whether `send` has answered false and `drained` has not come yet. */
  get full(): boolean {
    return this.#full;
  }

  attach(events: TransportEvents): void {
    this.#events = events;
    this.#peer?.schedule();
  }

  send(head: Uint8Array, body?: Uint8Array): boolean {
    if (this.#ended || this.#closing !== undefined) return true;
    // A copy, as a network makes one: neither end may see the other's memory.
    const message = body === undefined ? Buffer.concat([head]) : Buffer.concat([head, body]);
    this.#outgoing.push(message);
    this.recorded?.push(message);
    this.#outgoingBytes += message.byteLength;
    this.peakBytes = Math.max(this.peakBytes, this.#outgoingBytes);
    this.schedule();
    this.#full = this.#stalled || this.#outgoingBytes > this.#highWaterBytes;
    return !this.#full;
  }

  /** From now on nothing that is sent here is taken, while what the other end sends still arrives. */
  stall(): void {
    this.#stalled = true;
    this.#full = true;
  }

  /** Puts any bytes on the wire, as a peer could that keeps to no rules. */
  inject(message: Uint8Array): void {
    this.#outgoing.push(message);
    this.#outgoingBytes += message.byteLength;
    this.schedule();
  }

  /** Tells the other end that this one broke the transport's rules, e.g. by a text message. */
  violate(reason: string): void {
    this.#peer?.violated(reason);
  }

  violated(reason: string): void {
    this.#events?.violation('PROTOCOL_ERROR', reason);
  }

  cork(): void {
    // Messages leave at the end of the turn in any case.
  }

  uncork(): void {
    // See cork.
  }

  setMaxMessageBytes(bytes: number): void {
    this.#maxMessageBytes = bytes;
  }

  schedule(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.deliver();
    });
  }

  deliver(): void {
    const peer = this.#peer;
    while (!this.#link.paused && !this.#stalled && !this.#ended && peer?.ready === true) {
      const message = this.#outgoing.shift();
      if (message === undefined) break;
      this.#outgoingBytes -= message.byteLength;
      peer.take(message);
    }
    if (this.#full && !this.#stalled && this.#outgoingBytes <= this.#highWaterBytes / 4 && !this.#ended) {
      this.#full = false;
      this.#events?.drained();
    }
    if (this.#closing !== undefined && this.#outgoing.length === 0 && !this.#link.paused) this.#endBoth(this.#closing);
  }

  get ready(): boolean {
    return this.#events !== undefined;
  }

  take(message: Uint8Array): void {
    if (this.#ended) return;
    if (message.byteLength > this.#maxMessageBytes)
      this.#events?.violation('FRAME_TOO_LARGE', 'a message beyond the limit');
    else this.#events?.message(this.rewrite?.(message) ?? message);
  }

  close(code: number, reason: string): void {
    if (this.#ended || this.#closing !== undefined) return;
    this.#closing = { code, reason };
    if (this.#link.paused || this.#stalled) this.destroy();
    else this.schedule();
  }

  destroy(): void {
    this.#endBoth({ code: 1006, reason: '' });
  }

  #endBoth(end: TransportEnd): void {
    const peer = this.#peer;
    this.end(end);
    peer?.end(end);
  }

  end(end: TransportEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#outgoing = [];
    this.#closed.resolve(end);
  }
}

export interface MemoryPair {
  readonly server: MemoryTransport;
  readonly agent: MemoryTransport;
  /** Nothing passes in either direction until `resume`. */
  pause(): void;
  resume(): void;
  /** The network breaks: both ends see the connection vanish. */
  cut(): void;
}

/** Two ends of one connection. Messages arrive in the next turn of the event loop. */
export function memoryPair(options: MemoryPairOptions = {}): MemoryPair {
  const link = new Link();
  const highWaterBytes = options.highWaterBytes ?? 256 * 1024;
  const server = new MemoryTransport(link, highWaterBytes);
  const agent = new MemoryTransport(link, highWaterBytes);
  return {
    server,
    agent,
    pause() {
      link.paused = true;
    },
    resume() {
      link.paused = false;
      server.schedule();
      agent.schedule();
    },
    cut: () => server.destroy(),
  };
}
