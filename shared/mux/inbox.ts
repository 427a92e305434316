/** What one stream has received and the application has not taken yet, and the credit that it gets back by taking it. */
import { FairleadError } from '../errors.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { Assembly } from './assembly.ts';
import { charge, newWindow, nextLimit, type ReceiveWindow, receive, take, type WindowRules } from './flow.ts';
import type { StreamHost } from './stream-host.ts';
import type { Inbound } from './stream-role.ts';

/** A chunk below this is copied if it would pin a much larger buffer. */
const COPY_BELOW_BYTES = 4 * 1024;

/** A message that is complete. */
export interface WholeMessage {
  readonly bytes: Uint8Array;
  /** Credit that goes back to the peer once the application takes the message. */
  readonly credit: number;
}

interface QueuedItem {
  /** Encoded: decoded it may take many times the memory that its credit stands for. */
  readonly bytes: Uint8Array;
  /** Credit that goes back to the peer when the item is taken. */
  readonly credit: number;
}

/** Small chunks that wait are copied together up to this size: one object each would take many times their bytes. */
const MERGE_UP_TO_BYTES = 8 * 1024;
/** Items that may wait: a window of items of 64 bytes each, which is less than real ones have and than each takes here. */
const MAX_WAITING_ITEMS = 4_096;

export class Inbox {
  readonly #host: StreamHost;
  /** Sends a new limit to the peer. */
  readonly #grant: (limit: number) => void;
  readonly #inbound: Inbound;
  readonly #window: ReceiveWindow;
  /** What the host has counted for this stream. */
  #charged = 0;
  #chunks: Uint8Array[] = [];
  #items: QueuedItem[] = [];
  #assembly: Assembly | undefined;
  #discarding = false;
  #ended = false;
  #closed = false;
  /** Called when there is something new to take, or nothing will come any more. */
  onChange: (() => void) | undefined;

  constructor(host: StreamHost, inbound: Inbound, grant: (limit: number) => void) {
    this.#host = host;
    this.#inbound = inbound;
    this.#grant = grant;
    this.#window = newWindow(host.limits.initialWindowBytes);
    this.#count();
    // Before bytes come: a ping behind them would be late.
    if (inbound === 'bytes') host.measureRoundTrip();
  }

  /** Counts what the peer may still send and what was not taken; once all has come, what was not taken alone. */
  #count(): void {
    const { received, taken } = this.#window;
    let bytes = 0;
    if (!this.#closed && this.#inbound !== 'nothing') {
      bytes = this.#ended ? received - taken : charge(this.#window, this.#host.limits.windowShareBytes);
    }
    if (bytes === this.#charged) return;
    this.#host.countWindow(bytes - this.#charged);
    this.#charged = bytes;
  }

  /** Offsets of body bytes, for tests and figures. */
  get window(): Readonly<ReceiveWindow> {
    return this.#window;
  }

  /** Whether everything has come. What is queued may still be taken. */
  get ended(): boolean {
    return this.#ended;
  }

  get assembling(): boolean {
    return this.#assembly !== undefined;
  }

  /** Counts body bytes in. @throws FairleadError FLOW_CONTROL_ERROR beyond the limit */
  #receive(bytes: number): void {
    if (receive(this.#window, bytes, this.#host.clock.monotonic())) {
      const { received, measuredFrom, size } = this.#window;
      if (received - measuredFrom >= size / 4) this.#host.measureRoundTrip();
      return;
    }
    throw new FairleadError('FLOW_CONTROL_ERROR', `a stream sent beyond its limit of ${this.#window.limit} bytes`);
  }

  /** Takes in one frame's raw bytes. @throws FairleadError FLOW_CONTROL_ERROR */
  data(first: Uint8Array, rest: readonly Uint8Array[]): void {
    const bytes = rest.reduce((sum, part) => sum + part.byteLength, first.byteLength);
    this.#receive(bytes);
    if (this.#discarding) {
      this.#credit(bytes);
      return;
    }
    this.#queue(first);
    for (const part of rest) this.#queue(part);
    if (bytes > 0) this.onChange?.();
  }

  #queue(chunk: Uint8Array): void {
    if (chunk.byteLength === 0) return;
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.byteLength + chunk.byteLength <= MERGE_UP_TO_BYTES) {
      this.#chunks[this.#chunks.length - 1] = joined(last, chunk);
    } else {
      this.#chunks.push(unpinned(chunk));
    }
  }

  /**
   * Takes in a fragment of a message; the last has `more` false.
   * @returns the whole message once it is complete
   * @throws FairleadError if it breaks a limit
   */
  fragment(type: number, payload: Uint8Array, more: boolean): WholeMessage | 'no room' | undefined {
    const counted = type === MECHANICS.item;
    if (counted) this.#receive(payload.byteLength);
    if (this.#assembly === undefined && !more) return { bytes: payload, credit: counted ? payload.byteLength : 0 };
    this.#assembly ??= new Assembly(type);
    const assembly = this.#assembly;
    if (assembly.type !== type) throw new FairleadError('PROTOCOL_ERROR', 'a message began inside another');
    const { itemBytes, messageBytes } = this.#host.limits;
    const most = counted ? itemBytes : messageBytes;
    if (assembly.bytes + payload.byteLength > most) {
      throw new FairleadError('MESSAGE_INVALID', `a message is larger than ${most} bytes`);
    }
    if (!this.#host.countAssembly(payload.byteLength)) return 'no room';
    assembly.add(payload);
    if (counted) this.#absorb(assembly, payload.byteLength);
    if (more) return undefined;
    this.#dropAssembly();
    return { bytes: assembly.whole(), credit: assembly.heldCredit };
  }

  /** A message larger than the window could never complete without credit, but one that waits behind another can wait. */
  #absorb(assembly: Assembly, bytes: number): void {
    if (this.#items.length === 0) this.#credit(bytes);
    else assembly.heldCredit += bytes;
  }

  #dropAssembly(): void {
    if (this.#assembly !== undefined) this.#host.countAssembly(-this.#assembly.bytes);
    this.#assembly = undefined;
  }

  /** Queues an item. @returns false if too many wait */
  item(bytes: Uint8Array, credit: number): boolean {
    if (this.#discarding) {
      this.#credit(credit);
      return true;
    }
    if (this.#items.length >= MAX_WAITING_ITEMS) return false;
    this.#items.push({ bytes: unpinned(bytes), credit });
    this.onChange?.();
    return true;
  }

  /** The next chunk, whose credit comes back by `taken`. */
  nextChunk(): Uint8Array | undefined {
    return this.#chunks.shift();
  }

  /** The next item; taking it gives its credit back. */
  nextItem(): QueuedItem | undefined {
    const item = this.#items.shift();
    if (item === undefined) return undefined;
    let credit = item.credit;
    if (this.#items.length === 0 && this.#assembly !== undefined) {
      credit += this.#assembly.heldCredit;
      this.#assembly.heldCredit = 0;
    }
    this.taken(credit);
    return item;
  }

  /** The application has taken so many bytes. */
  taken(bytes: number): void {
    // What is discarded has earned its credit already, also what the application still holds.
    if (!this.#discarding) this.#credit(bytes);
  }

  #credit(bytes: number): void {
    if (this.#closed || this.#inbound === 'nothing') return;
    take(this.#window, bytes);
    this.#count();
    // Once nothing more can come there is no credit to give.
    const limit = this.#ended ? undefined : this.#nextLimit();
    if (limit === undefined) return;
    this.#window.limit = limit;
    this.#count();
    this.#grant(limit);
  }

  #nextLimit(): number | undefined {
    const { clock, limits, maxWindow, roundTripMs, windowRoom } = this.#host;
    const { initialWindowBytes: base, windowShareBytes: share, maxStreamOffset: maxOffset } = limits;
    // Items take more memory than their bytes, so raw bytes alone earn a larger window; not those that nobody reads.
    const most = this.#inbound === 'bytes' && !this.#discarding ? limits.maxWindowBytes : base;
    const rules: WindowRules = { base, max: Math.min(most, maxWindow), share, maxOffset, roundTripMs };
    return nextLimit(this.#window, rules, windowRoom, clock.monotonic());
  }

  /** Everything has come. */
  end(): void {
    if (this.#ended || this.#closed) return;
    this.#ended = true;
    this.#count();
    this.onChange?.();
  }

  /** Drops what is queued and what comes: the application wants no more, and the peer must not wait for credit. */
  discard(): void {
    this.#discarding = true;
    this.#chunks = [];
    this.#items = [];
    if (this.#assembly !== undefined) this.#assembly.heldCredit = 0;
    this.#credit(this.#window.received - this.#window.taken);
    this.onChange?.();
  }

  get discarding(): boolean {
    return this.#discarding;
  }

  /** Drops everything. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#count();
    this.#dropAssembly();
    this.#chunks = [];
    this.#items = [];
    this.onChange?.();
  }
}

/** The chunk itself, or a copy of it where a few bytes would keep a large buffer alive. */
function unpinned(chunk: Uint8Array): Uint8Array {
  if (chunk.byteLength >= COPY_BELOW_BYTES || chunk.buffer.byteLength <= 2 * COPY_BELOW_BYTES) return chunk;
  return joined(chunk, new Uint8Array(0));
}

/** A copy in memory of its own: Node's pool would keep much more alive. */
function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const copy = Buffer.allocUnsafeSlow(first.byteLength + second.byteLength);
  copy.set(first);
  copy.set(second, first.byteLength);
  return copy;
}
