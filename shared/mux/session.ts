/** One connection between server and agent: it opens and accepts streams, keeps both ends honest, and ends them all. */
import type { Static } from 'typebox';
import type { Clock } from '../clock.ts';
import { FairleadError, toWireError } from '../errors.ts';
import { MAX_REASON_CHARS } from '../limits.ts';
import { type Goaway, goaway, type Hello, hello, ping, pong, type Welcome, welcome } from '../messages/control.ts';
import type { Catalogue, ControlKind, Direction, Params, StreamKind } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { fits, validate } from '../validate.ts';
import { Acks } from './acks.ts';
import {
  CONTROL_STREAM,
  decodeHeader,
  encodeFrame,
  FLAGS,
  FRAME_HEADER_BYTES,
  hasUnknownFlags,
  MIN_FRAME_START_BYTES,
} from './frame.ts';
import { Liveness } from './liveness.ts';
import { Outcome } from './outcome.ts';
import { Pings } from './pings.ts';
import { closeCode, endByTransport, endOf, type GoawayOptions, type SessionEnd, violation } from './session-end.ts';
import { DEFAULT_LIMITS, type SessionLimits } from './session-limits.ts';
import { type PeerLimits, SessionStreams } from './session-streams.ts';
import type { MuxStream } from './stream.ts';
import type { Transport, TransportEnd } from './transport.ts';
import { decodeValue, encodeValue } from './values.ts';
import { Writer } from './writer.ts';

export type { GoawayOptions, SessionEnd } from './session-end.ts';

export interface SessionOptions {
  /** The server opens even streams (2, 4, …), the agent odd ones (1, 3, …). */
  readonly side: 'server' | 'agent';
  readonly transport: Transport;
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  /** Other limits than those of shared/limits.ts, for tests. */
  readonly limits?: Partial<SessionLimits>;
  /** The peer opened a stream. Its parameters fit their schema. */
  onStream(stream: MuxStream): void;
  /** A control message came, and fits its schema. Pings, pongs and goaways are handled inside. */
  onControl(kind: ControlKind, value: unknown): void;
  /** Any frame arrived. Called for each, so it must be cheap. */
  onActivity?(): void;
}

export interface SessionStats {
  /** Frame bytes, headers included. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Frame bytes out that the peer has acknowledged. */
  readonly bytesAcked: number;
  readonly framesIn: number;
  readonly framesOut: number;
  /** Frames that were dropped because their stream was closed already. */
  readonly framesDropped: number;
  /** Time in which a stream had bytes to send and no credit, summed over streams, in ms. */
  readonly creditStarvedMs: number;
  /** Time in which the socket took no more, in ms. */
  readonly socketBlockedMs: number;
  /** Resets by code, of both ends. */
  readonly resetsByCode: ReadonlyMap<string, number>;
  readonly queuedBytes: { readonly control: number; readonly interactive: number; readonly bulk: number };
}

const NO_PARTS: readonly Uint8Array[] = [];
const PING_TIMEOUT_MS = 10_000;

type Phase = 'greeting' | 'ready' | 'ended';

export class Session {
  readonly #options: SessionOptions;
  readonly #limits: SessionLimits;
  readonly #writer: Writer;
  readonly #streams: SessionStreams;
  readonly #acks: Acks;
  readonly #liveness: Liveness;
  readonly #greeting = new Outcome<Hello | Welcome>();
  readonly #closed = new Outcome<SessionEnd>();
  #phase: Phase = 'greeting';
  #end: SessionEnd | undefined;
  #draining = false;
  /** Whether this end has announced that it goes. */
  #leaving = false;
  #peerGoaway: Goaway | undefined;
  /** Called when no stream is open any more. */
  #onIdle: (() => void) | undefined;
  #pings: Pings | undefined;
  #bytesIn = 0;
  #framesIn = 0;
  #lastActivityAt: number;

  constructor(options: SessionOptions) {
    const { clock, transport } = options;
    this.#options = options;
    this.#limits = options.limits === undefined ? DEFAULT_LIMITS : { ...DEFAULT_LIMITS, ...options.limits };
    this.#writer = new Writer(transport, clock, this.#limits, () => this.#overflow());
    this.#acks = new Acks(this.#limits);
    this.#liveness = new Liveness(clock);
    this.#lastActivityAt = clock.now();
    this.#streams = this.#makeStreams();
    transport.setMaxMessageBytes(this.#limits.greetingFrameBytes);
    transport.closed.then(
      (end) => this.#onTransportClosed(end),
      (error: Error) => this.#onTransportClosed({ code: 1006, reason: '', error }),
    );
    transport.attach({
      message: (first, rest) => this.#onMessage(first, rest ?? NO_PARTS),
      violation: (code, reason) => this.destroy(new FairleadError(code, reason)),
      drained: () => this.#writer.drained(),
    });
  }

  #makeStreams(): SessionStreams {
    const { side, catalogue, clock } = this.#options;
    const streams = {
      side,
      catalogue,
      clock,
      limits: this.#limits,
      writer: this.#writer,
      onStream: (stream: MuxStream) => this.#options.onStream(stream),
      fail: (error: FairleadError) => this.destroy(error),
      onIdle: () => this.#idle(),
    };
    return new SessionStreams(streams, this.advertised);
  }

  /** What a welcome from this end must say of its limits. */
  get advertised(): PeerLimits {
    const { frameBytes, initialWindowBytes, openStreams } = this.#limits;
    return { frameBytes, windowBytes: initialWindowBytes, streams: openStreams };
  }

  /** Resolves once the connection is gone; never rejects. */
  get closed(): Promise<SessionEnd> {
    return this.#closed.promise;
  }

  /** Whether either end has announced that it goes, or the session has ended: no new streams. */
  get draining(): boolean {
    return this.#draining || this.#phase === 'ended';
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** When the last frame came, ms since 1970. */
  get lastActivityAt(): number {
    return this.#lastActivityAt;
  }

  get stats(): SessionStats {
    return {
      bytesIn: this.#bytesIn,
      bytesOut: this.#writer.bytes,
      bytesAcked: this.#acks.acked,
      framesIn: this.#framesIn,
      framesOut: this.#writer.frames,
      framesDropped: this.#streams.framesDropped,
      creditStarvedMs: this.#streams.starvedMs,
      socketBlockedMs: this.#writer.blockedMs,
      resetsByCode: this.#streams.resetsByCode,
      queuedBytes: { control: this.#writer.controlBytes, ...this.#streams.queuedBytes },
    };
  }

  /** The peer's hello or welcome; rejects when the session ends before it. */
  get greeting(): Promise<Hello | Welcome> {
    return this.#greeting.promise;
  }

  /** The longest wait for each step of the greeting, in ms. */
  get helloTimeoutMs(): number {
    return this.#limits.helloTimeoutMs;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  // ————— what this end says

  /**
   * Opens a stream.
   * @param options.signal resets the stream when it fires, with its reason if that is a FairleadError, else CANCELLED
   * @throws FairleadError VALIDATION if the parameters do not fit, MESSAGE_INVALID if they are too large, OVERLOADED,
   *   SHUTDOWN while the session drains, STREAM_INTERRUPTED once it has ended or before it is ready, CANCELLED
   */
  open<K extends StreamKind>(kind: K, params: Params<K>, options: { signal?: AbortSignal } = {}): MuxStream<K> {
    const { signal } = options;
    if (!this.#maySend(kind.from)) throw new Error(`${kind.name} is not opened by the ${this.#options.side}`);
    if (signal?.aborted) throw cancelled(signal);
    if (this.#phase !== 'ready') throw this.#interruption();
    const stream = this.#streams.open(kind, params);
    if (signal !== undefined) resetOnAbort(stream, signal);
    return stream;
  }

  #maySend(from: Direction): boolean {
    return from === 'both' || from === this.#options.side;
  }

  /**
   * Sends a control message; a welcome makes the session ready. Does nothing once the session has ended.
   * @throws FairleadError VALIDATION if the value does not fit its schema, MESSAGE_INVALID if it is too large
   */
  sendControl<K extends ControlKind>(kind: K, value: Static<K['value']>): void {
    if (!this.#maySend(kind.from)) throw new Error(`${kind.name} is not sent by the ${this.#options.side}`);
    if (this.#phase === 'ended') return;
    if (this.#phase === 'greeting' && !greets(kind)) throw new Error(`${kind.name} was sent before the welcome`);
    if (kind.code === welcome.code) this.#checkWelcome(value as Welcome);
    this.#writer.queueControl({ head: this.#encode(kind, value) });
    if (kind.code === welcome.code) this.#becomeReady();
  }

  /** A welcome that grants what this end would then refuse is a mistake to find at once. */
  #checkWelcome(value: Welcome): void {
    const own = this.advertised;
    const { frameBytes, windowBytes, streams } = value.limits;
    if (frameBytes <= own.frameBytes && windowBytes <= own.windowBytes && streams <= own.streams) return;
    throw new Error('a welcome grants more than the limits of its session');
  }

  #encode(kind: ControlKind, value: unknown): Uint8Array {
    const { frameBytes, greetingFrameBytes, depth, nodes } = this.#limits;
    // A welcome ends the greeting, but the agent knows that only once it has read it.
    const most = this.#phase === 'greeting' ? greetingFrameBytes : frameBytes;
    const limits = { bytes: most - FRAME_HEADER_BYTES, depth, nodes };
    const payload = encodeValue(validate(kind.value, value, kind.name), limits, kind.name);
    return encodeFrame(kind.code, CONTROL_STREAM, 0, payload);
  }

  /** @returns the round trip in ms. @throws FairleadError TIMEOUT (10 s unless given), OVERLOADED, STREAM_INTERRUPTED */
  ping(options: { timeoutMs?: number } = {}): Promise<number> {
    if (this.#phase !== 'ready') return Promise.reject(this.#interruption());
    return this.#pingsOf().send(options.timeoutMs ?? PING_TIMEOUT_MS, (id) => this.sendControl(ping, { id }));
  }

  #pingsOf(): Pings {
    this.#pings ??= new Pings(this.#options.clock, this.#limits.pendingPings);
    return this.#pings;
  }

  /** Ends the session with TIMEOUT once nothing has come for so long. Any frame counts as life. */
  startLiveness(silenceMs: number): void {
    if (this.#phase === 'ended') return;
    this.#liveness.start(silenceMs, () => {
      this.destroy(new FairleadError('TIMEOUT', `nothing was heard for ${silenceMs} ms`));
    });
  }

  // ————— the end

  /**
   * Ends the session in order: no new streams, running ones may finish by the deadline, then it closes.
   * Resolves when it is closed; never rejects. Idempotent: the first call's code and deadline stand.
   */
  async goaway(end: GoawayOptions): Promise<void> {
    if (this.#phase !== 'ended' && !this.#leaving) {
      this.#leaving = true;
      this.#drain();
      this.#writer.queueControl({ head: this.#goawayFrame(end) });
      if (this.#streams.size > 0) await this.#untilIdle(end.deadlineMs ?? this.#limits.goawayDeadlineMs);
      this.#close(endOf(end, 'local'));
    }
    await this.closed;
  }

  #drain(): void {
    this.#draining = true;
    this.#streams.drain();
  }

  #untilIdle(deadlineMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.setTimeout(resolve, deadlineMs);
    this.#onIdle = () => {
      timer.cancel();
      resolve();
    };
    return promise;
  }

  #idle(): void {
    if (this.#onIdle !== undefined) this.#onIdle();
    // The frame that ended the last stream leaves first.
    else if (this.#peerGoaway !== undefined) setImmediate(() => this.#closeAfterPeer());
  }

  /** The peer has said that it goes, and nothing runs any more. */
  #closeAfterPeer(): void {
    if (this.#peerGoaway !== undefined && this.#streams.size === 0) this.#close(endOf(this.#peerGoaway, 'remote'));
  }

  /** Sends a goaway with the error's code as far as the connection takes it, ends all streams and closes at once. Idempotent. */
  destroy(error: FairleadError): void {
    this.refuse({ code: error.code, reason: error.message });
  }

  /** As `destroy`, with all that a goaway can say. */
  refuse(end: GoawayOptions): void {
    if (this.#phase === 'ended') return;
    this.#writer.sendLast(this.#goawayFrame(end));
    this.#close(endOf(end, 'local'));
  }

  #overflow(): void {
    this.destroy(new FairleadError('OVERLOADED', 'the peer does not read what it makes this end say'));
  }

  #goawayFrame(end: GoawayOptions): Uint8Array {
    const { code, reason, retryAfterMs, versions } = end;
    return this.#encode(goaway, {
      code,
      reason: reason.slice(0, MAX_REASON_CHARS),
      lastStream: this.#streams.highestOfPeer,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(versions === undefined ? {} : { versions }),
    });
  }

  /** Ends everything that lives in the session, then the transport. */
  #close(end: SessionEnd): void {
    if (this.#phase === 'ended') return;
    this.#writer.flushControl();
    this.#finish(end);
    this.#options.transport.close(closeCode(end.code), end.code);
  }

  #finish(end: SessionEnd): void {
    this.#phase = 'ended';
    this.#end = end;
    this.#liveness.stop();
    this.#writer.stop();
    const error = this.#interruption();
    this.#greeting.reject(new FairleadError(end.code, end.reason));
    this.#streams.end(error);
    this.#pings?.fail(error);
    this.#onIdle?.();
  }

  /** What a stream gets when its session ends: that it was cut, and why. */
  #interruption(): FairleadError {
    if (this.#end === undefined) return new FairleadError('STREAM_INTERRUPTED', 'the session is not ready yet');
    const { code, reason } = this.#end;
    return new FairleadError('STREAM_INTERRUPTED', `the session ended (${code}): ${reason}`);
  }

  #onTransportClosed(transportEnd: TransportEnd): void {
    // The peer's goaway says best why it closed.
    const end = this.#peerGoaway === undefined ? endByTransport(transportEnd) : endOf(this.#peerGoaway, 'remote');
    if (this.#phase !== 'ended') this.#finish(end);
    this.#closed.resolve(this.#end ?? end);
  }

  // ————— what the peer says

  #onMessage(first: Uint8Array, rest: readonly Uint8Array[]): void {
    if (this.#phase === 'ended') return;
    this.#framesIn += 1;
    const bytes = rest.reduce((sum, part) => sum + part.byteLength, first.byteLength);
    this.#bytesIn += bytes;
    this.#liveness.heard();
    this.#lastActivityAt = this.#options.clock.now();
    try {
      this.#options.onActivity?.();
      if (rest.length > 0 && first.byteLength < MIN_FRAME_START_BYTES)
        this.#receive(Buffer.concat([first, ...rest]), NO_PARTS, bytes);
      else this.#receive(first, rest, bytes);
      if (this.#phase === 'ready') this.#acknowledge();
    } catch (error) {
      // Whatever a peer sends may end its session, never the process.
      const { message } = toWireError(error);
      this.destroy(error instanceof FairleadError ? error : new FairleadError('INTERNAL', message, { cause: error }));
    }
  }

  #acknowledge(): void {
    const ack = this.#acks.due(this.#bytesIn, this.#liveness.heardAt, this.#writer.controlBytes > 0);
    if (ack !== undefined) this.#writer.queueCredit(ack);
  }

  #receive(first: Uint8Array, rest: readonly Uint8Array[], bytes: number): void {
    const limit = this.#phase === 'greeting' ? this.#limits.greetingFrameBytes : this.#limits.frameBytes;
    if (bytes > limit) {
      throw new FairleadError('FRAME_TOO_LARGE', `a frame of ${bytes} bytes, and the limit is ${limit}`);
    }
    const header = decodeHeader(first);
    if (header === undefined) throw violation('a frame is shorter than its header');
    if (hasUnknownFlags(header.flags)) throw violation(`unknown flags ${header.flags}`);
    if (header.flags & FLAGS.DEFLATED) throw violation('a compressed frame, which was not negotiated');
    if (header.stream !== CONTROL_STREAM) {
      if (this.#phase === 'greeting') throw violation('a stream before the welcome');
      this.#streams.receive(header, first, rest);
      return;
    }
    if (header.flags !== 0) throw violation('flags on the control stream');
    const frame = rest.length === 0 ? first : Buffer.concat([first, ...rest]);
    this.#receiveControl(header.type, frame.subarray(FRAME_HEADER_BYTES));
  }

  #receiveControl(type: number, payload: Uint8Array): void {
    this.#streams.countControlFrame();
    if (type === MECHANICS['session.ack'] && this.#phase === 'ready') {
      this.#acks.take(payload, this.#writer.bytes);
      return;
    }
    const kind = this.#options.catalogue.control.get(type);
    if (kind === undefined) throw violation(`a control frame of unknown type ${type}`);
    if (kind.from === this.#options.side) throw violation(`${kind.name} was sent by the wrong end`);
    if (this.#phase === 'greeting' ? !greets(kind) && kind.code !== goaway.code : greets(kind)) {
      throw violation(`${kind.name} while the session is ${this.#phase}`);
    }
    this.#streams.countControlMessage();
    const { controlMessageBytes, controlMessageNodes: nodes, depth } = this.#limits;
    if (payload.byteLength > controlMessageBytes) {
      throw new FairleadError(
        'MESSAGE_INVALID',
        `${kind.name} takes ${payload.byteLength} bytes, and the limit is ${controlMessageBytes}`,
      );
    }
    const value = decodeValue(payload, { depth, nodes }, kind.name);
    if (!fits(kind.value, value)) throw new FairleadError('MESSAGE_INVALID', `${kind.name} does not fit its schema`);
    this.#takeControl(kind, value);
  }

  #takeControl(kind: ControlKind, value: unknown): void {
    switch (kind.code) {
      case hello.code:
        if (this.#greeting.settled) throw violation('a second hello');
        this.#greeting.resolve(value as Hello);
        break;
      case welcome.code:
        this.#takeWelcome(value as Welcome);
        break;
      case ping.code: {
        const head = this.#encode(pong, { id: (value as Static<typeof ping.value>).id });
        this.#pingsOf().answer((sent) => this.#writer.queueControl({ head, sent }));
        break;
      }
      case pong.code:
        this.#pings?.pong((value as Static<typeof pong.value>).id);
        break;
      case goaway.code:
        this.#takeGoaway(value as Goaway);
        break;
      default:
        this.#options.onControl(kind, value);
    }
  }

  #takeWelcome(value: Welcome): void {
    const { frameBytes, windowBytes, streams } = value.limits;
    if (frameBytes < this.#limits.greetingFrameBytes)
      throw violation('a welcome with a frame limit below that of a hello');
    const { maxStreamOffset } = this.#limits;
    this.#streams.setPeerLimits({ frameBytes, windowBytes: Math.min(windowBytes, maxStreamOffset), streams });
    this.#becomeReady();
    this.#greeting.resolve(value);
  }

  #becomeReady(): void {
    this.#phase = 'ready';
    this.#options.transport.setMaxMessageBytes(this.#limits.frameBytes);
  }

  #takeGoaway(value: Goaway): void {
    this.#peerGoaway ??= value;
    this.#drain();
    const { code, reason } = endOf(value, 'remote');
    this.#greeting.reject(new FairleadError(code, reason));
    const error = new FairleadError('STREAM_INTERRUPTED', `the peer goes away (${code}): ${reason}`);
    this.#streams.interruptAfter(value.lastStream, error);
    if (this.#streams.size === 0) this.#closeAfterPeer();
  }
}

/** Whether a control message belongs to the greeting. */
function greets(kind: ControlKind): boolean {
  return kind.code === hello.code || kind.code === welcome.code;
}

function cancelled(signal: AbortSignal): FairleadError {
  const { reason } = signal;
  return reason instanceof FairleadError ? reason : new FairleadError('CANCELLED', 'the caller went away');
}

function resetOnAbort(
  stream: { reset(error: FairleadError): void; closed: Promise<unknown> },
  signal: AbortSignal,
): void {
  const abort = () => stream.reset(cancelled(signal));
  signal.addEventListener('abort', abort, { once: true });
  stream.closed.then(
    () => signal.removeEventListener('abort', abort),
    () => undefined,
  );
}
