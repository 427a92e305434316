/** One exchange in a session: parameters, a reply, then bytes and items, and a clean end or an error. */
import type { Duplex } from 'node:stream';
import type { FairleadError } from '../errors.ts';
import type { Item, Params, Reply, Signal, StreamKind, Trailer } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { validate } from '../validate.ts';
import { encodeFrame } from './frame.ts';
import { SignalPacer } from './signals.ts';
import type { StreamState } from './states.ts';
import { finish, sendItem, sendReply } from './stream-answers.ts';
import { receiveFrame } from './stream-arrivals.ts';
import { bytesOf } from './stream-bytes.ts';
import { StreamCore } from './stream-core.ts';
import { toStreamError } from './stream-error.ts';
import type { StreamHost } from './stream-host.ts';
import { takeItems } from './stream-items.ts';
import type { StreamRole } from './stream-role.ts';
import { encodeValue } from './values.ts';

export class MuxStream<K extends StreamKind = StreamKind> {
  readonly id: number;
  readonly kind: K;
  readonly params: Params<K>;
  readonly #core: StreamCore;
  #items: AsyncGenerator<Item<K>> | undefined;

  /** Only a Session makes streams. `limit` is the peer's initial window. */
  constructor(host: StreamHost, role: StreamRole, id: number, kind: K, params: Params<K>, limit: number) {
    this.id = id;
    this.kind = kind;
    this.params = params;
    this.#core = new StreamCore(host, role, id, kind, limit);
  }

  /** The stream's state by its name in PROTOCOL.md. */
  get state(): StreamState {
    return this.#core.state;
  }

  /** The acceptor's first message; rejects when the stream is reset or interrupted before it came. */
  get reply(): Promise<Reply<K>> {
    return this.#core.reply.promise as Promise<Reply<K>>;
  }

  /** The acceptor's last message, for kinds that have one; rejects when the stream is reset or interrupted. */
  get trailer(): Promise<Trailer<K>> {
    return this.#core.trailer.promise as Promise<Trailer<K>>;
  }

  /** Resolves when both directions have ended, with the error if it was not a clean end. */
  get closed(): Promise<FairleadError | undefined> {
    return this.#core.closed.promise;
  }

  /** Fires with a FairleadError as its reason when the stream is reset by either end or interrupted; not at a clean end. */
  get aborted(): AbortSignal {
    return this.#core.aborted;
  }

  /** Credit and windows in body bytes, for tests and figures. */
  get flow(): {
    sent: number;
    sendLimit: number;
    received: number;
    taken: number;
    receiveLimit: number;
    queued: number;
  } {
    const { sent, limit: sendLimit } = this.#core.outbox.credit;
    const { received, taken, limit: receiveLimit } = this.#core.inbox.window;
    return { sent, sendLimit, received, taken, receiveLimit, queued: this.#core.outbox.queuedBytes };
  }

  /**
   * The stream's bytes. Its writable end sends END, or for a kind with a trailer waits for `finish`. Destroyed with the
   * FairleadError when the stream is reset or interrupted; destroying it resets the stream. The stream keeps the chunks
   * that are written until they are on the wire, so their memory must not be used again.
   */
  get bytes(): Duplex {
    return bytesOf(this.#core);
  }

  /** The acceptor's items in order; throws when the stream is reset or interrupted. To be iterated once. */
  items(): AsyncIterable<Item<K>> {
    this.#items ??= takeItems(this.#core) as AsyncGenerator<Item<K>>;
    return this.#items;
  }

  /**
   * Tells the acceptor something out of band, e.g. a terminal's new size. Needs no credit; paced. Does nothing on a closed stream.
   * @throws FairleadError MESSAGE_INVALID, RATE_LIMITED
   */
  signal(value: Signal<K>): void {
    const core = this.#core;
    const schema = this.kind.signal;
    if (core.role !== 'opener' || schema === undefined) throw new Error(`${this.kind.name} has no signals`);
    if (core.state === 'closed') return;
    const { clock, limits } = core.host;
    const what = `a signal of ${this.kind.name}`;
    const payload = encodeValue(
      validate(schema, value, what, 'MESSAGE_INVALID'),
      { bytes: limits.signalBytes, depth: limits.depth, nodes: limits.nodes },
      what,
    );
    core.pacer ??= new SignalPacer(clock, limits.signalsPerSecond, (bytes) => {
      core.host.queueSignal({ head: encodeFrame(MECHANICS['stream.signal'], this.id, 0, bytes) });
    });
    core.pacer.submit(payload);
  }

  /** Takes the opener's signals, also those that came before. A listener that throws resets the stream. */
  onSignal(listener: (value: Signal<K>) => void): void {
    this.#core.signals.listen((value) => {
      try {
        listener(value as Signal<K>);
      } catch (error) {
        this.reset(toStreamError(error));
      }
    });
  }

  /**
   * Answers the stream. For a kind whose acceptor sends nothing else this ends its direction too. Does nothing on a closed stream.
   * @throws FairleadError MESSAGE_INVALID if the reply does not fit its schema or limits; the stream is reset then
   */
  sendReply(value: Reply<K>): void {
    sendReply(this.#core, value);
  }

  /**
   * Sends an item; resolves once it has left, which waits for credit. Rejects when the stream is reset or interrupted,
   * and with MESSAGE_INVALID if the item does not fit its schema or limits; the stream is reset then.
   */
  sendItem(value: Item<K>): Promise<void> {
    return sendItem(this.#core, value);
  }

  /**
   * The acceptor has nothing more to send: after all that is queued comes the trailer, if the kind has one, and END.
   * What the opener still sends is dropped. Idempotent; does nothing on a closed stream.
   * @throws FairleadError MESSAGE_INVALID if the trailer does not fit its schema or limits; the stream is reset then
   */
  finish(trailer?: Trailer<K>): void {
    finish(this.#core, trailer);
  }

  /** Ends both directions at once, and tells the peer. Of a stream that has closed it drops what was not read. Idempotent. */
  reset(error: FairleadError): void {
    if (this.#core.state === 'closed') this.#core.leave(error);
    else this.#core.reset(error);
  }

  /** The session's: the session has ended under the stream. */
  interrupt(error: FairleadError): void {
    this.#core.interrupt(error);
  }

  /**
   * The session's: takes in a frame of this stream that is not its OPEN; its header lies whole in `first`.
   * @throws FairleadError if the peer broke the protocol: the session must end
   */
  receive(type: number, flags: number, first: Uint8Array, rest: readonly Uint8Array[]): void {
    receiveFrame(this.#core, type, flags, first, rest);
  }
}
