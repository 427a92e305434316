/** One exchange in a session: parameters, a reply, then bytes and items, and a clean end or an error. */
import type { Duplex } from 'node:stream';
import type { TSchema } from 'typebox';
import { FairleadError, fromPeerError, toWireError } from '../errors.ts';
import type { Item, Params, Reply, Signal, StreamKind, Trailer } from '../messages/kind.ts';
import { MECHANICS, ResetValue, WindowValue } from '../messages/mechanics.ts';
import { fits, validate } from '../validate.ts';
import { ByteDuplex } from './byte-duplex.ts';
import { binStart, encodeFrame, FLAGS, FRAME_HEADER_BYTES } from './frame.ts';
import { Inbox, type WholeMessage } from './inbox.ts';
import { Outbox } from './outbox.ts';
import { Outcome } from './outcome.ts';
import { violation } from './session-end.ts';
import { SignalGate, SignalPacer } from './signals.ts';
import { canReceive, type StreamEvent, type StreamState, transition } from './states.ts';
import type { StreamHost } from './stream-host.ts';
import { structureFault } from './structure.ts';
import { decodeChecked, decodeValue, encodeValue } from './values.ts';

/** The two ends of a stream: who opened it, and who answers. */
export type StreamRole = 'opener' | 'acceptor';

/** Which message of the acceptor comes next. */
type Phase = 'reply' | 'body' | 'end';

/** Whether an end of a stream of this kind sends bytes. */
export function sendsBytes(kind: StreamKind, role: StreamRole): boolean {
  return kind.bytes === 'both' || kind.bytes === role;
}

/** Whether the acceptor's reply is all it sends. */
function isUnary(kind: StreamKind): boolean {
  return kind.item === undefined && kind.trailer === undefined && !sendsBytes(kind, 'acceptor');
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** What any thrown value means for the stream it was thrown on. */
export function toStreamError(error: unknown): FairleadError {
  if (error instanceof FairleadError) return error;
  const code = codeOf(error);
  if (error === null || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ABORT_ERR') {
    return new FairleadError('CANCELLED', 'the application left the stream', { cause: error });
  }
  return new FairleadError('INTERNAL', toWireError(error).message, { cause: error });
}

export class MuxStream<K extends StreamKind = StreamKind> {
  readonly id: number;
  readonly kind: K;
  readonly params: Params<K>;
  readonly #role: StreamRole;
  readonly #host: StreamHost;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  readonly #reply = new Outcome<Reply<K>>();
  readonly #trailer = new Outcome<Trailer<K>>();
  readonly #closed = new Outcome<FairleadError | undefined>();
  #state: StreamState = 'idle';
  #phase: Phase = 'reply';
  #error: FairleadError | undefined;
  #abort: AbortController | undefined;
  #bytes: ByteDuplex | undefined;
  #items: AsyncGenerator<Item<K>> | undefined;
  #itemsWaiting: (() => void) | undefined;
  #pacer: SignalPacer | undefined;
  #signals: SignalGate | undefined;
  /** The acceptor's last message, encoded, while bytes before it are still on their way. */
  #lastMessage: Uint8Array | undefined;
  #finishing = false;

  /** Only a Session makes streams. `limit` is the peer's initial window. */
  constructor(host: StreamHost, role: StreamRole, id: number, kind: K, params: Params<K>, limit: number) {
    this.#host = host;
    this.#role = role;
    this.id = id;
    this.kind = kind;
    this.params = params;
    const held = role === 'acceptor';
    this.#outbox = new Outbox(host, id, { priority: kind.priority, limit, held }, () => this.#advance('send END'));
    // Items of any size take more memory than their bytes, so only raw bytes earn a larger window.
    this.#inbox = new Inbox(host, kind.item === undefined, (value) => this.#sendWindow(value));
    this.#inbox.onChange = () => this.#changed();
    this.#advance(role === 'opener' ? 'send OPEN' : 'receive OPEN');
    if (sendsBytes(kind, 'opener')) return;
    if (role === 'opener') this.#outbox.markEnded();
    else this.#endInbound();
  }

  /** The stream's state by its name in PROTOCOL.md. */
  get state(): StreamState {
    return this.#state;
  }

  /** The acceptor's first message; rejects when the stream is reset or interrupted before it came. */
  get reply(): Promise<Reply<K>> {
    return this.#reply.promise;
  }

  /** The acceptor's last message, for kinds that have one; rejects when the stream is reset or interrupted. */
  get trailer(): Promise<Trailer<K>> {
    return this.#trailer.promise;
  }

  /** Resolves when both directions have ended, with the error if it was not a clean end. */
  get closed(): Promise<FairleadError | undefined> {
    return this.#closed.promise;
  }

  /** Fires with a FairleadError as its reason when the stream is reset by either end or interrupted; not at a clean end. */
  get aborted(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#error !== undefined) this.#abort.abort(this.#error);
    }
    return this.#abort.signal;
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
    const { sent, limit: sendLimit } = this.#outbox.credit;
    const { received, taken, limit: receiveLimit } = this.#inbox.window;
    return { sent, sendLimit, received, taken, receiveLimit, queued: this.#outbox.queuedBytes };
  }

  /**
   * The stream's bytes. Its writable end sends END, or for a kind with a trailer waits for `finish`. Destroyed with the
   * FairleadError when the stream is reset or interrupted; destroying it resets the stream. The stream keeps the chunks
   * that are written until they are on the wire, so their memory must not be used again.
   */
  get bytes(): Duplex {
    if (this.#bytes !== undefined) return this.#bytes;
    const directions = {
      readable: sendsBytes(this.kind, this.#role === 'opener' ? 'acceptor' : 'opener'),
      writable: sendsBytes(this.kind, this.#role),
    };
    const bytes = new ByteDuplex(this.#byteSource(), directions);
    this.#bytes = bytes;
    if (this.#error !== undefined) bytes.destroy(this.#error);
    return bytes;
  }

  #byteSource(): ConstructorParameters<typeof ByteDuplex>[0] {
    const inbox = this.#inbox;
    return {
      nextChunk: () => inbox.nextChunk(),
      get inboundEnded() {
        return inbox.ended || inbox.discarding;
      },
      taken: (bytes) => inbox.taken(bytes),
      write: (chunks, sent) => this.#writeBytes(chunks, sent),
      endWriting: (sent) => this.#endBytes(sent),
      abandoned: (error) => this.#abandoned(error),
    };
  }

  #writeBytes(chunks: readonly Uint8Array[], sent: (error?: Error) => void): void {
    if (this.#error !== undefined) {
      sent(this.#error);
      return;
    }
    const filled = chunks.filter((chunk) => chunk.byteLength > 0);
    // The peer has finished and takes no more: what is written now is as good as sent.
    if (this.#outbox.endWanted || filled.length === 0) {
      sent();
      return;
    }
    this.#outbox.pushBytes(filled, sent);
  }

  #endBytes(sent: (error?: Error) => void): void {
    if (this.#error !== undefined) {
      sent(this.#error);
      return;
    }
    if (this.#role === 'opener' || this.kind.trailer === undefined) {
      this.#outbox.end(sent);
      return;
    }
    if (this.#finishing) this.#sendLast();
    sent();
  }

  /** The Duplex was destroyed: a failure, unless there was nothing left to read or to write. */
  #abandoned(error: Error | null): void {
    if (this.#state === 'closed' || this.#mayLeave(error)) return;
    this.reset(toStreamError(error));
  }

  #mayLeave(error: Error | null): boolean {
    // Reading with `for await` to the end destroys the Duplex with an AbortError while it could still be written to.
    const afterLoop = codeOf(error) === 'ABORT_ERR';
    if (error !== null && !afterLoop) return false;
    const reads = sendsBytes(this.kind, this.#role === 'opener' ? 'acceptor' : 'opener');
    const readToEnd = reads && this.#bytes?.readableEnded === true;
    if (!sendsBytes(this.kind, this.#role) || this.#outbox.endWanted) {
      return !reads || readToEnd || this.#inbox.ended || this.#inbox.discarding;
    }
    if (!readToEnd || this.#outbox.queuedBytes > 0 || this.#bytes?.writableLength !== 0) return false;
    // An acceptor that has read it all goes on to `finish`; an opener has no more to say.
    if (this.#role === 'opener') this.#outbox.end();
    return this.#role === 'opener' || afterLoop;
  }

  /** The acceptor's items in order; throws when the stream is reset or interrupted. To be iterated once. */
  items(): AsyncIterable<Item<K>> {
    this.#items ??= this.#takeItems();
    return this.#items;
  }

  async *#takeItems(): AsyncGenerator<Item<K>> {
    let complete = false;
    try {
      for (;;) {
        const item = this.#inbox.nextItem();
        if (item !== undefined) {
          yield this.#decodeItem(item.bytes);
          continue;
        }
        if (this.#error !== undefined) throw this.#error;
        if (this.#inbox.ended) break;
        await new Promise<void>((resolve) => {
          this.#itemsWaiting = resolve;
        });
      }
      complete = true;
    } finally {
      if (!complete) this.reset(new FairleadError('CANCELLED', 'the reader left the stream'));
    }
  }

  /** @throws FairleadError MESSAGE_INVALID, after the stream was reset */
  #decodeItem(bytes: Uint8Array): Item<K> {
    const what = `the item of ${this.kind.name}`;
    const value = decodeChecked(bytes, what);
    if (this.kind.item !== undefined && fits(this.kind.item, value)) return value as Item<K>;
    const error = new FairleadError('MESSAGE_INVALID', `${what} does not fit its schema`);
    this.reset(error);
    throw error;
  }

  /**
   * Tells the acceptor something out of band, e.g. a terminal's new size. Needs no credit; paced. Does nothing on a closed stream.
   * @throws FairleadError MESSAGE_INVALID, RATE_LIMITED
   */
  signal(value: Signal<K>): void {
    const schema = this.kind.signal;
    if (this.#role !== 'opener' || schema === undefined) throw new Error(`${this.kind.name} has no signals`);
    if (this.#state === 'closed') return;
    const { clock, limits } = this.#host;
    const what = `a signal of ${this.kind.name}`;
    const payload = encodeValue(
      validate(schema, value, what, 'MESSAGE_INVALID'),
      { bytes: limits.signalBytes, depth: limits.depth, nodes: limits.nodes },
      what,
    );
    this.#pacer ??= new SignalPacer(clock, limits.signalsPerSecond, (bytes) => {
      this.#host.queueSignal({ head: encodeFrame(MECHANICS['stream.signal'], this.id, 0, bytes) });
    });
    this.#pacer.submit(payload);
  }

  /** Takes the opener's signals, also those that came before. A listener that throws resets the stream. */
  onSignal(listener: (value: Signal<K>) => void): void {
    this.#gate().listen((value) => {
      try {
        listener(value as Signal<K>);
      } catch (error) {
        this.reset(toStreamError(error));
      }
    });
  }

  #gate(): SignalGate {
    this.#signals ??= new SignalGate(this.#host.limits.signalsPerSecond, this.#host.clock.monotonic());
    return this.#signals;
  }

  /**
   * Answers the stream. For a kind whose acceptor sends nothing else this ends its direction too. Does nothing on a closed stream.
   * @throws FairleadError MESSAGE_INVALID if the reply does not fit its schema or limits; the stream is reset then
   */
  sendReply(value: Reply<K>): void {
    if (this.#role !== 'acceptor') throw new Error('only the acceptor of a stream replies');
    if (this.#state === 'closed') return;
    if (this.#phase !== 'reply') throw new Error(`${this.kind.name} was answered twice`);
    const payload = this.#encode(this.kind.reply, value, 'reply');
    const unary = isUnary(this.kind);
    this.#phase = 'body';
    this.#host.answered(this.id);
    if (payload.byteLength <= this.#host.payloadBytes && this.#host.hasControlRoom(payload.byteLength)) {
      this.#host.queueControl({ head: encodeFrame(MECHANICS.reply, this.id, unary ? FLAGS.END : 0, payload) });
      if (unary) this.#outbox.markEnded();
    } else {
      // A long reply would hold up every keystroke as a control frame, so it takes its turn in the stream's class.
      this.#outbox.pushReply(payload);
      if (unary) this.#outbox.end();
    }
    this.#outbox.release();
  }

  /**
   * Sends an item; resolves once it has left, which waits for credit. Rejects when the stream is reset or interrupted,
   * and with MESSAGE_INVALID if the item does not fit its schema or limits; the stream is reset then.
   */
  sendItem(value: Item<K>): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Whoever does not wait learns of the failure by `closed` or `aborted`.
    promise.catch(() => undefined);
    try {
      const payload = this.#encodeItem(value);
      this.#outbox.pushMessage(MECHANICS.item, payload, true, (error) => (error ? reject(error) : resolve()));
    } catch (error) {
      reject(error);
    }
    return promise;
  }

  #encodeItem(value: Item<K>): Uint8Array {
    const schema = this.kind.item;
    if (this.#role !== 'acceptor' || schema === undefined) throw new Error(`${this.kind.name} has no items`);
    if (this.#error !== undefined) throw this.#error;
    if (this.#finishing || this.#state === 'closed') throw new Error(`${this.kind.name} is finished already`);
    const payload = this.#encode(schema, value, 'item');
    if (this.#outbox.queuedBytes <= this.#host.limits.queuedStreamBytes) return payload;
    const error = new FairleadError('OVERLOADED', 'too many items wait to be sent on one stream');
    this.reset(error);
    throw error;
  }

  /**
   * The acceptor has nothing more to send: after all that is queued comes the trailer, if the kind has one, and END.
   * What the opener still sends is dropped. Idempotent; does nothing on a closed stream.
   * @throws FairleadError MESSAGE_INVALID if the trailer does not fit its schema or limits; the stream is reset then
   */
  finish(trailer?: Trailer<K>): void {
    if (this.#role !== 'acceptor') throw new Error('only the acceptor of a stream finishes it');
    if (this.#finishing || this.#state === 'closed') return;
    if (this.#phase === 'reply') throw new Error(`${this.kind.name} is finished before it was answered`);
    if (this.kind.trailer !== undefined) this.#lastMessage = this.#encode(this.kind.trailer, trailer, 'trailer');
    this.#finishing = true;
    const bytes = this.#bytes;
    if (bytes === undefined || !sendsBytes(this.kind, 'acceptor') || bytes.writableFinished || bytes.destroyed) {
      this.#sendLast();
    } else bytes.end();
    if (!this.#inbox.ended) this.#inbox.discard();
  }

  #sendLast(): void {
    const trailer = this.#lastMessage;
    this.#lastMessage = undefined;
    if (trailer !== undefined) this.#outbox.pushMessage(MECHANICS.trailer, trailer, false);
    this.#outbox.end();
  }

  /** Validates and encodes one of the acceptor's messages; a message that the peer would refuse fails this stream alone. */
  #encode(schema: TSchema, value: unknown, name: string): Uint8Array {
    const what = `the ${name} of ${this.kind.name}`;
    const { messageBytes, itemBytes, depth, nodes, itemNodes } = this.#host.limits;
    const own = name === 'item' ? { bytes: itemBytes, nodes: itemNodes } : { bytes: messageBytes, nodes };
    try {
      const valid = validate(schema, value, what, 'MESSAGE_INVALID');
      return encodeValue(valid, { ...own, depth }, what);
    } catch (error) {
      this.reset(toStreamError(error));
      throw error;
    }
  }

  /** Ends both directions at once, and tells the peer. Idempotent. */
  reset(error: FairleadError): void {
    if (this.#state === 'closed') return;
    this.#host.sendReset(this.id, error);
    this.#advance('send reset');
    this.#fail(error, 'local');
  }

  /** The session's: the session has ended under the stream. */
  interrupt(error: FairleadError): void {
    if (this.#state === 'closed') return;
    this.#advance('session end');
    this.#fail(error, 'local');
  }

  /**
   * The session's: takes in a frame of this stream that is not its OPEN; its header lies whole in `first`.
   * @throws FairleadError if the peer broke the protocol: the session must end
   */
  receive(type: number, flags: number, first: Uint8Array, rest: readonly Uint8Array[]): void {
    if (type === MECHANICS['stream.data']) {
      this.#receiveData(flags, first, rest);
      return;
    }
    const frame = rest.length === 0 ? first : Buffer.concat([first, ...rest]);
    switch (type) {
      case MECHANICS.reply:
      case MECHANICS.item:
      case MECHANICS.trailer:
        this.#receiveMessage(type, flags, frame.subarray(FRAME_HEADER_BYTES));
        return;
      case MECHANICS['stream.end']:
        if (flags !== FLAGS.END || frame.byteLength > FRAME_HEADER_BYTES) throw violation('an end frame is not empty');
        this.#host.countControlFrame();
        this.#expectBody();
        this.#receiveEnd();
        return;
      default:
        this.#receiveMechanics(type, flags, frame.subarray(FRAME_HEADER_BYTES));
        return;
    }
  }

  #expectBody(): void {
    if (!canReceive(this.#state)) throw violation(`a body frame after END on a stream of ${this.kind.name}`);
    if (this.#role === 'opener' && this.#phase === 'reply') throw violation(`${this.kind.name} sent before its reply`);
  }

  #receiveData(flags: number, first: Uint8Array, rest: readonly Uint8Array[]): void {
    const sender = this.#role === 'opener' ? 'acceptor' : 'opener';
    if (!sendsBytes(this.kind, sender)) throw violation(`bytes on a stream of ${this.kind.name}`);
    if (flags & FLAGS.MORE) throw violation('a byte chunk with MORE');
    this.#expectBody();
    if (this.#phase === 'end') throw violation('bytes after the trailer');
    if (this.#inbox.assembling) throw violation('bytes inside a message');
    const totalBytes = rest.reduce((sum, part) => sum + part.byteLength, first.byteLength);
    const start = binStart(first, FRAME_HEADER_BYTES, totalBytes);
    if (start === undefined) throw new FairleadError('MESSAGE_INVALID', 'a byte chunk is no MessagePack bin');
    if (totalBytes === start) this.#host.countControlFrame();
    this.#inbox.data(first.subarray(start), rest);
    if (flags & FLAGS.END) this.#receiveEnd();
  }

  #receiveMessage(type: number, flags: number, payload: Uint8Array): void {
    const more = (flags & FLAGS.MORE) !== 0;
    if (this.#role === 'acceptor') throw violation(`the opener of ${this.kind.name} sent an acceptor's message`);
    if (type !== MECHANICS.reply) this.#expectBody();
    else if (this.#phase !== 'reply') throw violation(`a second reply of ${this.kind.name}`);
    if (type !== MECHANICS.reply && this.#phase === 'end') throw violation('a message after the trailer');
    if (more && flags & FLAGS.END) throw violation('a frame with MORE and END');
    if (payload.byteLength === 0) this.#host.countControlFrame();
    const whole = this.#inbox.fragment(type, payload, more);
    if (whole === 'no room') {
      this.reset(new FairleadError('OVERLOADED', 'too many long messages at once'));
      return;
    }
    if (whole !== undefined) this.#takeMessage(type, whole);
    if (flags & FLAGS.END && this.#state !== 'closed') this.#receiveEnd();
  }

  #takeMessage(type: number, whole: WholeMessage): void {
    const name = type === MECHANICS.reply ? 'reply' : type === MECHANICS.item ? 'item' : 'trailer';
    const schema = this.kind[name];
    if (schema === undefined) throw violation(`${this.kind.name} has no ${name}`);
    const what = `the ${name} of ${this.kind.name}`;
    if (name === 'item') {
      this.#takeItem(whole, what);
      return;
    }
    const value = decodeValue(whole.bytes, this.#host.limits, what);
    if (!fits(schema, value)) {
      this.reset(new FairleadError('MESSAGE_INVALID', `${what} does not fit its schema`));
      return;
    }
    if (name === 'reply') {
      this.#phase = 'body';
      this.#host.answered(this.id);
      this.#reply.resolve(value as Reply<K>);
    } else {
      this.#phase = 'end';
      this.#trailer.resolve(value as Trailer<K>);
    }
  }

  /** Queues an item as it came, once its structure is known to be harmless. */
  #takeItem({ bytes, credit }: WholeMessage, what: string): void {
    const { itemBytes, itemNodes: nodes, depth } = this.#host.limits;
    if (bytes.byteLength > itemBytes)
      throw new FairleadError('MESSAGE_INVALID', `${what} is larger than ${itemBytes} bytes`);
    const fault = structureFault(bytes, { depth, nodes });
    if (fault !== undefined) throw new FairleadError('MESSAGE_INVALID', `${what} is not acceptable: ${fault}`);
    if (this.#inbox.item(bytes, credit)) return;
    this.reset(new FairleadError('OVERLOADED', `too many items of ${this.kind.name} wait to be read`));
  }

  #receiveEnd(): void {
    if (this.#inbox.assembling) throw violation('END inside a message');
    const trailerMissing = this.#role === 'opener' && this.kind.trailer !== undefined && this.#phase !== 'end';
    if (trailerMissing) throw violation(`${this.kind.name} ended without its trailer`);
    this.#endInbound();
    // A trailer says that the acceptor is done with everything: what is still on its way to it has no reader.
    if (this.#role === 'opener' && this.kind.trailer !== undefined && this.#state !== 'closed') this.#outbox.discard();
  }

  #endInbound(): void {
    this.#inbox.end();
    this.#advance('receive END');
  }

  #receiveMechanics(type: number, flags: number, payload: Uint8Array): void {
    if (flags !== 0) throw violation('flags on a frame that takes none');
    const { limits } = this.#host;
    if (type === MECHANICS['stream.window']) {
      this.#host.countControlFrame();
      const value = decodeValue(payload, limits, 'a window');
      if (!fits(WindowValue, value)) throw new FairleadError('MESSAGE_INVALID', 'a window does not fit its schema');
      if (!this.#outbox.raise(value.limit)) throw new FairleadError('FLOW_CONTROL_ERROR', 'a limit fell');
    } else if (type === MECHANICS['stream.reset']) {
      const value = decodeValue(payload, limits, 'a reset');
      if (!fits(ResetValue, value)) throw new FairleadError('MESSAGE_INVALID', 'a reset does not fit its schema');
      this.#advance('receive reset');
      this.#fail(fromPeerError(value), 'remote');
    } else if (type === MECHANICS['stream.signal']) {
      this.#receiveSignal(payload);
    } else {
      throw violation(`a frame of type ${type} on an open stream`);
    }
  }

  #receiveSignal(payload: Uint8Array): void {
    const schema = this.kind.signal;
    if (this.#role === 'opener' || schema === undefined) throw violation(`a signal on a stream of ${this.kind.name}`);
    this.#host.countControlFrame();
    const { limits } = this.#host;
    if (payload.byteLength > limits.signalBytes) throw new FairleadError('FRAME_TOO_LARGE', 'a signal is too large');
    const value = decodeValue(payload, limits, 'a signal');
    if (!fits(schema, value)) {
      this.reset(new FairleadError('MESSAGE_INVALID', `a signal of ${this.kind.name} does not fit its schema`));
      return;
    }
    try {
      this.#gate().receive(value, this.#host.clock.monotonic());
    } catch (error) {
      this.reset(toStreamError(error));
    }
  }

  #sendWindow(limit: number): void {
    const { messageBytes, depth, nodes } = this.#host.limits;
    const payload = encodeValue({ limit }, { bytes: messageBytes, depth, nodes }, 'a window');
    this.#host.queueCredit({ head: encodeFrame(MECHANICS['stream.window'], this.id, 0, payload) });
  }

  /** Something new can be taken, or nothing will come any more. */
  #changed(): void {
    const waiting = this.#itemsWaiting;
    this.#itemsWaiting = undefined;
    waiting?.();
    if (this.#bytes === undefined) return;
    try {
      this.#bytes.deliver();
    } catch (error) {
      // A listener of the application threw: its own stream fails, not the session.
      this.reset(toStreamError(error));
    }
  }

  #advance(event: StreamEvent): void {
    const next = transition(this.#state, event);
    if (next === undefined) throw new Error(`a stream that is ${this.#state} cannot ${event}`);
    this.#state = next;
    if (next === 'closed' && (event === 'send END' || event === 'receive END')) this.#complete();
  }

  #complete(): void {
    this.#pacer?.close();
    this.#trailer.resolve(undefined as Trailer<K>);
    this.#closed.resolve(undefined);
    this.#host.released(this.id, undefined, 'local');
  }

  #fail(error: FairleadError, by: 'local' | 'remote'): void {
    this.#error = error;
    this.#pacer?.close();
    this.#outbox.fail(error);
    this.#inbox.close();
    this.#reply.reject(error);
    this.#trailer.reject(error);
    this.#closed.resolve(error);
    this.#abort?.abort(error);
    this.#bytes?.destroy(error);
    this.#host.released(this.id, error, by);
  }
}
