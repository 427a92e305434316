/** What one stream has received and the application has not taken yet, and the credit that it gets back by taking it. */
import { FairleadError } from '../errors.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { nextLimit, type ReceiveWindow, receive, take, type WindowRules } from './flow.ts';
import type { StreamHost } from './stream-host.ts';

/** A chunk below this is copied if it would pin a much larger buffer. */
const COPY_BELOW_BYTES = 4 * 1024;

interface QueuedItem {
  readonly value: unknown;
  /** Credit that goes back to the peer when the item is taken. */
  readonly credit: number;
}

/** A message of which fragments have come. */
interface Assembly {
  readonly type: number;
  readonly parts: Uint8Array[];
  bytes: number;
  /** Credit that is kept back because a whole item still waits to be taken. */
  held: number;
}

export class Inbox {
  readonly #host: StreamHost;
  /** Sends a new limit to the peer. */
  readonly #grant: (limit: number) => void;
  readonly #window: ReceiveWindow;
  #chunks: Uint8Array[] = [];
  #items: QueuedItem[] = [];
  #assembly: Assembly | undefined;
  #discarding = false;
  #ended = false;
  #closed = false;
  /** Called when there is something new to take, or nothing will come any more. */
  onChange: (() => void) | undefined;

  constructor(host: StreamHost, grant: (limit: number) => void) {
    this.#host = host;
    this.#grant = grant;
    const size = host.limits.initialWindowBytes;
    this.#window = { limit: size, received: 0, taken: 0, size };
    host.countWindow(size);
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
    if (receive(this.#window, bytes)) return;
    throw new FairleadError('FLOW_CONTROL_ERROR', `a stream sent beyond its limit of ${this.#window.limit} bytes`);
  }

  /** Takes in a chunk of raw bytes. @throws FairleadError FLOW_CONTROL_ERROR */
  data(chunk: Uint8Array): void {
    this.#receive(chunk.byteLength);
    if (this.#discarding) return this.taken(chunk.byteLength);
    if (chunk.byteLength === 0) return;
    this.#chunks.push(unpinned(chunk));
    this.onChange?.();
  }

  /**
   * Takes in a fragment of a message; the last has `more` false.
   * @returns the whole message once it is complete
   * @throws FairleadError if it breaks a limit, OVERLOADED if only this stream must go
   */
  fragment(type: number, payload: Uint8Array, more: boolean): { bytes: Uint8Array; credit: number } | undefined {
    const counted = type === MECHANICS.item;
    if (counted) this.#receive(payload.byteLength);
    if (this.#assembly === undefined && !more) return { bytes: payload, credit: counted ? payload.byteLength : 0 };
    this.#assembly ??= { type, parts: [], bytes: 0, held: 0 };
    const assembly = this.#assembly;
    if (assembly.type !== type) throw new FairleadError('PROTOCOL_ERROR', 'a message began inside another');
    assembly.bytes += payload.byteLength;
    if (assembly.bytes > this.#host.limits.messageBytes) {
      throw new FairleadError('MESSAGE_INVALID', `a message is larger than ${this.#host.limits.messageBytes} bytes`);
    }
    if (!this.#host.countAssembly(payload.byteLength)) {
      assembly.bytes -= payload.byteLength;
      throw new FairleadError('OVERLOADED', 'too many messages are being received at once');
    }
    assembly.parts.push(payload);
    if (counted) this.#absorb(assembly, payload.byteLength);
    if (more) return undefined;
    this.#dropAssembly();
    return { bytes: Buffer.concat(assembly.parts, assembly.bytes), credit: assembly.held };
  }

  /** A message larger than the window could never complete without credit, but one that waits behind another can wait. */
  #absorb(assembly: Assembly, bytes: number): void {
    if (this.#items.length === 0) this.taken(bytes);
    else assembly.held += bytes;
  }

  #dropAssembly(): void {
    if (this.#assembly !== undefined) this.#host.countAssembly(-this.#assembly.bytes);
    this.#assembly = undefined;
  }

  item(value: unknown, credit: number): void {
    if (this.#discarding) return this.taken(credit);
    this.#items.push({ value, credit });
    this.onChange?.();
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
      credit += this.#assembly.held;
      this.#assembly.held = 0;
    }
    this.taken(credit);
    return item;
  }

  /** The application has taken so many bytes. */
  taken(bytes: number): void {
    if (this.#closed) return;
    take(this.#window, bytes);
    this.#host.countWindow(-bytes);
    if (this.#ended) return;
    const before = this.#window.limit;
    const limit = nextLimit(this.#window, this.#rules(), this.#host.windowRoom);
    if (limit === undefined) return;
    this.#window.limit = limit;
    this.#host.countWindow(limit - before);
    this.#grant(limit);
  }

  #rules(): WindowRules {
    const { initialWindowBytes, maxWindowBytes, windowShareBytes, maxStreamOffset } = this.#host.limits;
    return { base: initialWindowBytes, max: maxWindowBytes, share: windowShareBytes, maxOffset: maxStreamOffset };
  }

  /** Everything has come. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#host.countWindow(this.#window.received - this.#window.limit);
    this.#window.limit = this.#window.received;
    this.onChange?.();
  }

  /** Drops what is queued and what comes: the application wants no more, and the peer must not wait for credit. */
  discard(): void {
    this.#discarding = true;
    const unread = this.#window.received - this.#window.taken;
    this.#chunks = [];
    this.#items = [];
    if (unread > 0) this.taken(unread);
    this.onChange?.();
  }

  get discarding(): boolean {
    return this.#discarding;
  }

  /** Drops everything. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { limit, taken } = this.#window;
    this.#host.countWindow(taken - limit);
    this.#dropAssembly();
    this.#chunks = [];
    this.#items = [];
    this.onChange?.();
  }
}

/** The chunk itself, or a copy of it where a few bytes would keep a large buffer alive. */
function unpinned(chunk: Uint8Array): Uint8Array {
  if (chunk.byteLength >= COPY_BELOW_BYTES || chunk.buffer.byteLength <= 2 * COPY_BELOW_BYTES) return chunk;
  return Buffer.from(chunk);
}
