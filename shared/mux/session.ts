/** One connection between server and agent: it opens and accepts streams, keeps both ends honest, and ends them all. */
import type { Static } from 'typebox';
import type { Clock } from '../clock.ts';
import { ERRORS, type ErrorCode, FairleadError, toWireError } from '../errors.ts';
import { MAX_REASON_CHARS } from '../limits.ts';
import { type Goaway, goaway, type Hello, hello, ping, pong, type Welcome, welcome } from '../messages/control.ts';
import type { Catalogue, ControlKind, Direction, Params, StreamKind } from '../messages/kind.ts';
import { AckValue, MECHANICS } from '../messages/mechanics.ts';
import { fits, validate } from '../validate.ts';
import { ClosedStreams } from './closed-streams.ts';
import {
  CONTROL_STREAM,
  decodeHeader,
  encodeFrame,
  FLAGS,
  FRAME_HEADER_BYTES,
  hasUnknownFlags,
  MAX_BIN_HEAD_BYTES,
  MAX_STREAM_ID,
} from './frame.ts';
import { Outcome } from './outcome.ts';
import { isPaidFor, PeerBudgets } from './peer-budgets.ts';
import { Pings } from './pings.ts';
import { FrameQueue, type OutFrame } from './scheduler.ts';
import { DEFAULT_LIMITS, type SessionLimits } from './session-limits.ts';
import { MuxStream, sendsBytes, toStreamError } from './stream.ts';
import type { StreamHost } from './stream-host.ts';
import type { Transport, TransportEnd } from './transport.ts';
import { decodeValue, encodeValue } from './values.ts';
import { Writer } from './writer.ts';

export interface SessionOptions {
  /** The server opens even streams (2, 4, …), the agent odd ones (1, 3, …). */
  readonly side: 'server' | 'agent';
  readonly transport: Transport;
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  /** Narrower limits, for tests. */
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

const PING_TIMEOUT_MS = 10_000;
const NO_RESETS: ReadonlyMap<string, number> = new Map();

type Phase = 'greeting' | 'ready' | 'ended';

export class Session {
  readonly #options: SessionOptions;
  readonly #limits: SessionLimits;
  readonly #writer: Writer;
  readonly #host: StreamHost;
  readonly #budgets: PeerBudgets;
  readonly #streams = new Map<number, MuxStream>();
  readonly #closedOwn: ClosedStreams;
  readonly #closedPeer: ClosedStreams;
  readonly #greeting = new Outcome<Hello | Welcome>();
  readonly #closed = new Outcome<SessionEnd>();
  #phase: Phase = 'greeting';
  #helloSeen = false;
  #end: SessionEnd | undefined;
  #peerGoaway: Goaway | undefined;
  #draining = false;
  /** Called when no stream is open any more. */
  #onIdle: (() => void) | undefined;
  /** What the other end takes: its welcome tells the agent, and the server knows only the defaults. */
  #peerLimits: { readonly frameBytes: number; readonly windowBytes: number; readonly streams: number };
  /** Own streams that wait for their answer, and the peer's that wait for ours. */
  #unansweredOwn = 0;
  #unansweredPeer = 0;
  readonly #unanswered = new Set<number>();
  #bytesIn = 0;
  #framesIn = 0;
  #framesDropped = 0;
  #bytesAcked = 0;
  #ackSent = 0;
  #ackQueued = false;
  #pongsQueued = 0;
  #windowBytes = 0;
  #assemblyBytes = 0;
  #starvedMs = 0;
  #resets: Map<string, number> | undefined;
  #signals: FrameQueue | undefined;
  #pings: Pings | undefined;
  #lastActivityAt: number;
  #lastHeard: number;
  #liveness: { cancel(): void } | undefined;

  constructor(options: SessionOptions) {
    const { clock, transport } = options;
    this.#options = options;
    this.#limits = options.limits === undefined ? DEFAULT_LIMITS : { ...DEFAULT_LIMITS, ...options.limits };
    this.#writer = new Writer(transport, clock);
    this.#budgets = new PeerBudgets(clock, this.#limits);
    const now = clock.monotonic();
    this.#closedOwn = new ClosedStreams(this.#limits.closedGraceMs, now);
    this.#closedPeer = new ClosedStreams(this.#limits.closedGraceMs, now);
    this.#lastActivityAt = clock.now();
    this.#lastHeard = now;
    this.#peerLimits = this.advertised;
    this.#host = this.#streamHost();
    transport.setMaxMessageBytes(this.#limits.greetingFrameBytes);
    transport.closed.then(
      (end) => this.#onTransportClosed(end),
      (error: Error) => this.#onTransportClosed({ code: 1006, reason: error.message }),
    );
    transport.attach({
      message: (frame) => this.#onMessage(frame),
      violation: (reason) => this.destroy(violation(reason)),
      drained: () => this.#writer.drained(),
    });
  }

  /** What a welcome from this end must say of its limits. */
  get advertised(): Welcome['limits'] & { frameBytes: number; windowBytes: number; streams: number } {
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

  /** When the last frame came, by the clock's wall time. */
  get lastActivityAt(): number {
    return this.#lastActivityAt;
  }

  get stats(): SessionStats {
    const queued = { control: this.#writer.scheduler.controlBytes, interactive: 0, bulk: 0 };
    for (const stream of this.#streams.values()) queued[stream.kind.priority] += stream.flow.queued;
    return {
      bytesIn: this.#bytesIn,
      bytesOut: this.#writer.bytes,
      bytesAcked: this.#bytesAcked,
      framesIn: this.#framesIn,
      framesOut: this.#writer.frames,
      framesDropped: this.#framesDropped,
      creditStarvedMs: this.#starvedMs,
      socketBlockedMs: this.#writer.blockedMs,
      resetsByCode: this.#resets ?? NO_RESETS,
      queuedBytes: queued,
    };
  }

  /** The peer's hello or welcome; rejects when the session ends before it. For shared/mux/handshake.ts. */
  get greeting(): Promise<Hello | Welcome> {
    return this.#greeting.promise;
  }

  /** The longest wait for each step of the greeting, in ms. */
  get helloTimeoutMs(): number {
    return this.#limits.helloTimeoutMs;
  }

  /** The clock that the session was given. */
  get clock(): Clock {
    return this.#options.clock;
  }

  // ————— opening streams and sending control messages

  /**
   * Opens a stream.
   * @param options.signal resets the stream with CANCELLED when it fires
   * @throws FairleadError VALIDATION if the parameters do not fit, MESSAGE_INVALID if they are too large, OVERLOADED,
   *   SHUTDOWN while the session drains, STREAM_INTERRUPTED once it has ended or before it is ready, CANCELLED
   */
  open<K extends StreamKind>(kind: K, params: Params<K>, options: { signal?: AbortSignal } = {}): MuxStream<K> {
    this.#checkMayOpen(kind, options.signal);
    const valid = validate(kind.params, params, `the parameters of ${kind.name}`);
    const { depth, nodes } = this.#limits;
    const bytes = this.#peerLimits.frameBytes - FRAME_HEADER_BYTES;
    const payload = encodeValue(valid, { bytes, depth, nodes }, `the parameters of ${kind.name}`);
    const id = this.#nextId();
    if (!this.#budgets.takeOwnOpen()) throw new FairleadError('OVERLOADED', 'streams are opened too fast');
    this.#closedOwn.opened(id, this.#options.clock.monotonic());
    const stream = new MuxStream(this.#host, 'opener', id, kind, params, this.#peerLimits.windowBytes);
    this.#keep(stream);
    this.#unansweredOwn += 1;
    const flags = sendsBytes(kind, 'opener') ? FLAGS.OPEN : FLAGS.OPEN | FLAGS.END;
    this.#host.queueControl({ head: encodeFrame(kind.code, id, flags, payload) });
    if (options.signal !== undefined) resetOnAbort(stream, options.signal);
    return stream;
  }

  #checkMayOpen(kind: StreamKind, signal: AbortSignal | undefined): void {
    if (!this.#maySend(kind.from)) throw new Error(`${kind.name} is not opened by the ${this.#options.side}`);
    if (signal?.aborted) throw cancelled(signal);
    if (this.#phase === 'greeting') throw new FairleadError('STREAM_INTERRUPTED', 'the session is not ready yet');
    if (this.#phase === 'ended') throw this.#interruption();
    if (this.#draining) throw new FairleadError('SHUTDOWN', 'the session takes no new streams');
    const most = Math.min(this.#limits.openStreams, this.#peerLimits.streams);
    if (this.#streams.size >= most) throw new FairleadError('OVERLOADED', `${most} streams are open already`);
    const unanswered = this.#limits.unansweredOpens;
    if (this.#unansweredOwn >= unanswered) {
      throw new FairleadError('OVERLOADED', `${unanswered} streams wait for their answer already`);
    }
    if (!this.#host.hasControlRoom(0)) throw new FairleadError('OVERLOADED', 'the peer does not read');
  }

  #nextId(): number {
    const first = this.#options.side === 'server' ? 2 : 1;
    const id = this.#closedOwn.highest === 0 ? first : this.#closedOwn.highest + 2;
    if (id <= MAX_STREAM_ID) return id;
    void this.goaway({ code: 'SHUTDOWN', reason: 'all stream ids are used up' });
    throw new FairleadError('SHUTDOWN', 'all stream ids of the session are used up');
  }

  #maySend(from: Direction): boolean {
    return from === 'both' || from === this.#options.side;
  }

  /** Sends a control message; a welcome makes the session ready. Does nothing once the session has ended. @throws FairleadError VALIDATION, MESSAGE_INVALID */
  sendControl<K extends ControlKind>(kind: K, value: Static<K['value']>): void {
    if (!this.#maySend(kind.from)) throw new Error(`${kind.name} is not sent by the ${this.#options.side}`);
    if (this.#phase === 'ended') return;
    const inGreeting = this.#phase === 'greeting';
    if (inGreeting && kind.code !== hello.code && kind.code !== welcome.code) {
      throw new Error(`${kind.name} was sent before the welcome`);
    }
    const frame = this.#encodeControl(kind, value);
    if (inGreeting && kind.code === hello.code && frame.byteLength > this.#limits.greetingFrameBytes) {
      throw new FairleadError(
        'MESSAGE_INVALID',
        `the hello takes ${frame.byteLength} bytes, and the limit is ${this.#limits.greetingFrameBytes}`,
      );
    }
    if (kind.code === welcome.code) this.#checkWelcome(value as Welcome);
    this.#host.queueControl({ head: frame });
    if (kind.code === welcome.code) this.#becomeReady();
  }

  /** A welcome that grants what this end would then refuse is a mistake to find at once. */
  #checkWelcome(value: Welcome): void {
    const own = this.advertised;
    const { frameBytes, windowBytes, streams } = value.limits;
    if (frameBytes <= own.frameBytes && windowBytes <= own.windowBytes && streams <= own.streams) return;
    throw new Error('a welcome grants more than the limits of its session');
  }

  #encodeControl(kind: ControlKind, value: unknown): Uint8Array {
    const { messageBytes, frameBytes, depth, nodes } = this.#limits;
    const valid = validate(kind.value, value, kind.name);
    const bytes = Math.min(messageBytes, frameBytes - FRAME_HEADER_BYTES);
    return encodeFrame(kind.code, CONTROL_STREAM, 0, encodeValue(valid, { bytes, depth, nodes }, kind.name));
  }

  /** @returns the round trip in ms. @throws FairleadError TIMEOUT (10 s unless given), OVERLOADED, STREAM_INTERRUPTED */
  ping(options: { timeoutMs?: number } = {}): Promise<number> {
    if (this.#phase !== 'ready') return Promise.reject(this.#interruption());
    this.#pings ??= new Pings(this.#options.clock, this.#limits.pendingPings);
    return this.#pings.send(options.timeoutMs ?? PING_TIMEOUT_MS, (id) => this.sendControl(ping, { id }));
  }

  // ————— liveness

  /** Ends the session with TIMEOUT once nothing has come for so long. Any frame counts as life. */
  startLiveness(silenceMs: number): void {
    this.#liveness?.cancel();
    this.#liveness = undefined;
    if (this.#phase === 'ended') return;
    this.#lastHeard = this.#options.clock.monotonic();
    this.#watch(silenceMs, silenceMs);
  }

  #watch(silenceMs: number, waitMs: number): void {
    this.#liveness = this.#options.clock.setTimeout(() => {
      const silent = this.#options.clock.monotonic() - this.#lastHeard;
      if (silent >= silenceMs) this.destroy(new FairleadError('TIMEOUT', `nothing was heard for ${silenceMs} ms`));
      else this.#watch(silenceMs, silenceMs - silent);
    }, waitMs);
  }

  // ————— the end

  /**
   * Ends the session in order: no new streams, running ones may finish by the deadline, then it closes.
   * Resolves when it is closed; never rejects. Idempotent.
   */
  async goaway(end: GoawayOptions): Promise<void> {
    if (this.#phase !== 'ended' && this.#onIdle === undefined) {
      this.#draining = true;
      this.#host.queueControl({ head: this.#goawayFrame(end) });
      if (this.#streams.size > 0) await this.#untilIdle(end.deadlineMs ?? this.#limits.goawayDeadlineMs);
      this.#close(endOf(end, 'local'));
    }
    await this.closed;
  }

  #untilIdle(deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.setTimeout(resolve, deadlineMs);
      this.#onIdle = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** Sends a goaway with the error's code as far as the connection takes it, ends all streams and closes at once. Idempotent. */
  destroy(error: FairleadError): void {
    if (this.#phase === 'ended') return;
    this.#refuse({ code: error.code, reason: error.message });
  }

  /** Sends a goaway and closes at once, without waiting for streams. Idempotent. For shared/mux/handshake.ts too. */
  refuse(end: GoawayOptions): void {
    if (this.#phase !== 'ended') this.#refuse(end);
  }

  #refuse(end: GoawayOptions): void {
    this.#writer.scheduler.clear();
    this.#writer.sendNow(this.#goawayFrame(end));
    this.#close(endOf(end, 'local'));
  }

  #goawayFrame(end: GoawayOptions): Uint8Array {
    return this.#encodeControl(goaway, {
      code: end.code,
      reason: end.reason.slice(0, MAX_REASON_CHARS),
      lastStream: this.#closedPeer.highest,
      ...(end.retryAfterMs === undefined ? {} : { retryAfterMs: end.retryAfterMs }),
      ...(end.versions === undefined ? {} : { versions: end.versions }),
    });
  }

  /** Ends everything that lives in the session, then the transport. */
  #close(end: SessionEnd): void {
    if (this.#phase === 'ended') return;
    this.#writer.flushControl();
    this.#finish(end);
    this.#options.transport.close(VIOLATIONS.has(end.code) ? CLOSE_PROTOCOL_ERROR : CLOSE_GOING_AWAY, end.code);
  }

  #finish(end: SessionEnd): void {
    this.#phase = 'ended';
    this.#end = end;
    this.#liveness?.cancel();
    this.#writer.stop();
    const error = this.#interruption();
    this.#greeting.reject(new FairleadError(end.code, end.reason));
    for (const stream of [...this.#streams.values()]) stream.interrupt(error);
    this.#pings?.fail(error);
    this.#onIdle?.();
  }

  /** What a stream gets when its session ends: that it was cut, and why. */
  #interruption(): FairleadError {
    if (this.#end === undefined) return new FairleadError('STREAM_INTERRUPTED', 'the session is not ready');
    const { code, reason } = this.#end;
    return new FairleadError('STREAM_INTERRUPTED', `the session ended (${code}): ${reason}`);
  }

  #onTransportClosed(transportEnd: TransportEnd): void {
    if (this.#phase !== 'ended') this.#finish(this.#endByPeer(transportEnd));
    this.#closed.resolve(this.#end ?? { code: 'STREAM_INTERRUPTED', reason: 'the connection was lost', by: 'network' });
  }

  /** The peer's goaway says best why it closed; next its close reason, which is a code; else it was the network. */
  #endByPeer(transportEnd: TransportEnd): SessionEnd {
    if (this.#peerGoaway !== undefined) return endOf(this.#peerGoaway, 'remote');
    if (Object.hasOwn(ERRORS, transportEnd.reason)) {
      const code = transportEnd.reason as ErrorCode;
      return { code, reason: ERRORS[code].title, by: 'remote' };
    }
    const cause = transportEnd.error?.message ?? `the connection closed with code ${transportEnd.code}`;
    return { code: 'STREAM_INTERRUPTED', reason: cause, by: 'network' };
  }

  // ————— what arrives

  #onMessage(frame: Uint8Array): void {
    if (this.#phase === 'ended') return;
    this.#framesIn += 1;
    this.#bytesIn += frame.byteLength;
    this.#lastHeard = this.#options.clock.monotonic();
    this.#lastActivityAt = this.#options.clock.now();
    try {
      this.#options.onActivity?.();
      this.#receive(frame);
      this.#acknowledge();
    } catch (error) {
      // Whatever a peer sends may end its session, never the process.
      this.destroy(
        error instanceof FairleadError
          ? error
          : new FairleadError('INTERNAL', toWireError(error).message, { cause: error }),
      );
    }
  }

  #receive(frame: Uint8Array): void {
    const limit = this.#phase === 'greeting' ? this.#limits.greetingFrameBytes : this.#limits.frameBytes;
    if (frame.byteLength > limit) {
      throw new FairleadError('FRAME_TOO_LARGE', `a frame of ${frame.byteLength} bytes, and the limit is ${limit}`);
    }
    const header = decodeHeader(frame);
    if (header === undefined) throw violation('a frame is shorter than its header');
    const { type, stream: id, flags } = header;
    if (hasUnknownFlags(flags)) throw violation(`unknown flags ${flags}`);
    if (flags & FLAGS.DEFLATED) throw violation('a compressed frame, which was not negotiated');
    if (id === CONTROL_STREAM) {
      this.#receiveControl(type, flags, frame.subarray(FRAME_HEADER_BYTES));
      return;
    }
    if (this.#phase === 'greeting') throw violation('a stream before the welcome');
    if (flags & FLAGS.OPEN) {
      this.#accept(type, id, flags, frame.subarray(FRAME_HEADER_BYTES));
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#receiveForClosed(type, id);
      return;
    }
    if (type === MECHANICS['stream.reset'] && !this.#isOwn(id)) this.#budgets.countReset();
    stream.receive(type, flags, frame);
  }

  #isOwn(id: number): boolean {
    return (id % 2 === 0) === (this.#options.side === 'server');
  }

  /** Frames that were on their way when their stream closed. */
  #receiveForClosed(type: number, id: number): void {
    const closed = this.#isOwn(id) ? this.#closedOwn : this.#closedPeer;
    if (id > closed.highest) throw violation(`a frame for stream ${id}, which was never opened`);
    if (!isMechanics(type)) throw violation(`a frame of unknown type ${type}`);
    if (!closed.forgives(id, this.#options.clock.monotonic())) {
      throw violation(`a frame for stream ${id}, which is closed for long`);
    }
    if (type === MECHANICS['stream.reset']) this.#budgets.countReset();
    else if (type !== MECHANICS['stream.data'] && type !== MECHANICS.item) this.#host.countControlFrame();
    this.#framesDropped += 1;
  }

  #accept(type: number, id: number, flags: number, payload: Uint8Array): void {
    if (this.#isOwn(id)) throw violation(`the peer opened stream ${id}, which is not its to open`);
    if (id <= this.#closedPeer.highest) throw violation(`stream ${id} was opened again`);
    if (flags & FLAGS.MORE) throw violation('an OPEN with MORE');
    const kind = this.#options.catalogue.streams.get(type);
    if (kind === undefined) throw violation(`a stream of unknown type ${type}`);
    const peer = this.#options.side === 'server' ? 'agent' : 'server';
    if (kind.from !== 'both' && kind.from !== peer) throw violation(`the ${peer} may not open ${kind.name}`);
    const ends = (flags & FLAGS.END) !== 0;
    if (ends === sendsBytes(kind, 'opener')) throw violation(`an OPEN of ${kind.name} with END out of place`);
    this.#budgets.countOpen();
    this.#closedPeer.opened(id, this.#options.clock.monotonic());
    const params = decodeValue(payload, this.#limits, `the parameters of ${kind.name}`);
    const refusal = this.#refusalOf(kind, params);
    if (refusal !== undefined) {
      this.#sendReset(id, refusal);
      this.#closedPeer.closed(id, this.#options.clock.monotonic());
      return;
    }
    const stream = new MuxStream(
      this.#host,
      'acceptor',
      id,
      kind,
      params as Params<StreamKind>,
      this.#peerLimits.windowBytes,
    );
    this.#keep(stream);
    this.#unansweredPeer += 1;
    try {
      this.#options.onStream(stream);
    } catch (error) {
      stream.reset(toStreamError(error));
    }
  }

  /** Why a stream is not taken on, if it is not. */
  #refusalOf(kind: StreamKind, params: unknown): FairleadError | undefined {
    if (this.#draining) return new FairleadError('SHUTDOWN', 'the session takes no new streams');
    if (this.#streams.size >= this.#limits.openStreams || this.#unansweredPeer >= this.#limits.unansweredOpens) {
      return new FairleadError('OVERLOADED', 'too many streams are open');
    }
    if (fits(kind.params, params)) return undefined;
    return new FairleadError('MESSAGE_INVALID', `the parameters of ${kind.name} do not fit their schema`);
  }

  #receiveControl(type: number, flags: number, payload: Uint8Array): void {
    if (flags !== 0) throw violation('flags on the control stream');
    if (type === MECHANICS['session.ack'] && this.#phase === 'ready') {
      this.#receiveAck(payload);
      return;
    }
    const kind = this.#options.catalogue.control.get(type);
    if (kind === undefined) throw violation(`a control frame of unknown type ${type}`);
    const peer = this.#options.side === 'server' ? 'agent' : 'server';
    if (kind.from !== 'both' && kind.from !== peer) throw violation(`the ${peer} may not send ${kind.name}`);
    this.#checkPhase(kind);
    this.#host.countControlFrame();
    const value = decodeValue(payload, this.#limits, kind.name);
    if (!fits(kind.value, value)) throw new FairleadError('MESSAGE_INVALID', `${kind.name} does not fit its schema`);
    this.#takeControl(kind, value);
  }

  #checkPhase(kind: ControlKind): void {
    const greets = kind.code === hello.code || kind.code === welcome.code;
    if (this.#phase === 'greeting' && !greets && kind.code !== goaway.code) {
      throw violation(`${kind.name} before the welcome`);
    }
    if (greets && (this.#phase !== 'greeting' || this.#helloSeen)) throw violation(`a second ${kind.name}`);
  }

  #takeControl(kind: ControlKind, value: unknown): void {
    switch (kind.code) {
      case hello.code:
        this.#helloSeen = true;
        this.#greeting.resolve(value as Hello);
        return;
      case welcome.code:
        this.#takeWelcome(value as Welcome);
        return;
      case ping.code:
        this.#pong((value as Static<typeof ping.value>).id);
        return;
      case pong.code:
        this.#pings?.pong((value as Static<typeof pong.value>).id);
        return;
      case goaway.code:
        this.#takeGoaway(value as Goaway);
        return;
      default:
        this.#options.onControl(kind, value);
        return;
    }
  }

  #takeWelcome(value: Welcome): void {
    const { frameBytes, windowBytes, streams } = value.limits;
    if (frameBytes < this.#limits.greetingFrameBytes) throw violation('a welcome with a frame limit below the hello');
    this.#peerLimits = { frameBytes, windowBytes: Math.min(windowBytes, this.#limits.maxStreamOffset), streams };
    this.#becomeReady();
    this.#greeting.resolve(value);
  }

  #becomeReady(): void {
    this.#phase = 'ready';
    this.#options.transport.setMaxMessageBytes(this.#limits.frameBytes);
  }

  #pong(id: number): void {
    if (this.#pongsQueued >= this.#limits.pendingPings) throw violation('pings whose pongs it does not read');
    this.#pongsQueued += 1;
    const sent = () => {
      this.#pongsQueued -= 1;
    };
    this.#host.queueControl({ head: this.#encodeControl(pong, { id }), sent });
  }

  #takeGoaway(value: Goaway): void {
    this.#peerGoaway = value;
    this.#draining = true;
    const code = endOf(value, 'remote').code;
    const error = new FairleadError('STREAM_INTERRUPTED', `the peer goes away (${code}): ${value.reason}`);
    for (const stream of [...this.#streams.values()]) {
      if (this.#isOwn(stream.id) && stream.id > value.lastStream) stream.interrupt(error);
    }
    this.#greeting.reject(new FairleadError(code, value.reason));
    if (this.#streams.size === 0) this.#close(endOf(value, 'remote'));
  }

  #receiveAck(payload: Uint8Array): void {
    this.#host.countControlFrame();
    const value = decodeValue(payload, this.#limits, 'an ack');
    if (!fits(AckValue, value)) throw new FairleadError('MESSAGE_INVALID', 'an ack does not fit its schema');
    if (value.bytes > this.#writer.bytes) throw violation('an ack of more bytes than were sent');
    if (value.bytes < this.#bytesAcked) throw violation('an ack that fell');
    this.#bytesAcked = value.bytes;
  }

  /** Tells the peer how much has come, each time it is enough more. One ack waits at most, and says what is true as it leaves. */
  #acknowledge(): void {
    if (this.#ackQueued || this.#phase !== 'ready' || this.#bytesIn - this.#ackSent < this.#limits.ackBytes) return;
    this.#ackQueued = true;
    const { messageBytes: bytes, depth, nodes } = this.#limits;
    this.#ackSent = this.#bytesIn;
    const payload = encodeValue({ bytes: this.#ackSent }, { bytes, depth, nodes }, 'an ack');
    const sent = () => {
      this.#ackQueued = false;
    };
    this.#host.queueControl({ head: encodeFrame(MECHANICS['session.ack'], CONTROL_STREAM, 0, payload), sent });
  }

  // ————— what streams need

  #streamHost(): StreamHost {
    const session = this;
    return {
      clock: this.#options.clock,
      limits: this.#limits,
      get payloadBytes() {
        const room = session.#peerLimits.frameBytes - FRAME_HEADER_BYTES - MAX_BIN_HEAD_BYTES;
        return Math.min(session.#limits.payloadBytes, room);
      },
      wake: (flow) => {
        this.#writer.scheduler.wake(flow);
        this.#writer.schedule();
      },
      queueControl: (frame) => this.#queueControl(frame),
      queueSignal: (frame) => this.#queueSignal(frame),
      hasControlRoom: (bytes) => {
        const { controlFrames, controlBytes } = this.#writer.scheduler;
        const { queuedControlFrames, queuedControlBytes } = this.#limits;
        // Half of the queue is kept for what the session itself must say.
        return controlFrames < queuedControlFrames / 2 && controlBytes + bytes < queuedControlBytes / 2;
      },
      countStarved: (ms) => {
        this.#starvedMs += ms;
      },
      get windowRoom() {
        return session.#limits.budgetBytes - session.#windowBytes;
      },
      countWindow: (bytes) => {
        this.#windowBytes += bytes;
      },
      countAssembly: (bytes) => {
        if (bytes > 0 && this.#assemblyBytes + bytes > this.#limits.budgetBytes) return false;
        this.#assemblyBytes += bytes;
        return true;
      },
      countControlFrame: () => this.#budgets.countControl(this.#writer.frames),
      answered: (id) => this.#answered(id),
      sendReset: (id, error) => this.#sendReset(id, error),
      released: (id, error, by) => this.#released(id, error, by),
    };
  }

  #keep(stream: MuxStream<StreamKind>): void {
    this.#streams.set(stream.id, stream);
    this.#unanswered.add(stream.id);
  }

  #queueControl(frame: OutFrame): void {
    if (this.#phase === 'ended') return;
    const { scheduler } = this.#writer;
    const { queuedControlFrames, queuedControlBytes } = this.#limits;
    if (scheduler.controlFrames >= queuedControlFrames || scheduler.controlBytes >= queuedControlBytes) {
      this.destroy(new FairleadError('OVERLOADED', 'the peer does not read what it makes this end say'));
      return;
    }
    scheduler.pushControl(frame);
    this.#writer.schedule();
  }

  #queueSignal(frame: OutFrame): void {
    this.#signals ??= new FrameQueue();
    if (this.#signals.length >= this.#limits.queuedControlFrames) {
      this.destroy(new FairleadError('OVERLOADED', 'the peer does not read its signals'));
      return;
    }
    this.#signals.push(frame);
    this.#host.wake(this.#signals);
  }

  #answered(id: number): void {
    if (!this.#unanswered.delete(id)) return;
    if (this.#isOwn(id)) this.#unansweredOwn -= 1;
    else this.#unansweredPeer -= 1;
  }

  #sendReset(id: number, error: FairleadError): void {
    const wire = toWireError(error);
    this.#countReset(error.code);
    const { messageBytes: bytes, depth, nodes } = this.#limits;
    const value = { code: wire.code, message: wire.message.slice(0, 4 * MAX_REASON_CHARS) };
    const payload = encodeValue(value, { bytes, depth, nodes }, 'a reset');
    this.#queueControl({ head: encodeFrame(MECHANICS['stream.reset'], id, 0, payload) });
  }

  #countReset(code: ErrorCode): void {
    this.#resets ??= new Map();
    this.#resets.set(code, (this.#resets.get(code) ?? 0) + 1);
  }

  #released(id: number, error: FairleadError | undefined, by: 'local' | 'remote'): void {
    if (!this.#streams.delete(id)) return;
    this.#answered(id);
    const own = this.#isOwn(id);
    (own ? this.#closedOwn : this.#closedPeer).closed(id, this.#options.clock.monotonic());
    if (this.#phase === 'ended') return;
    if (error !== undefined && by === 'remote') this.#countReset(error.code);
    if (isPaidFor(error, own === (by === 'local'))) this.#budgets.refundOpen(own ? 'self' : 'peer');
    if (this.#streams.size > 0 || !this.#draining) return;
    if (this.#onIdle !== undefined) this.#onIdle();
    else if (this.#peerGoaway !== undefined) queueMicrotask(() => this.#closeAfterPeer());
  }

  /** The peer has said that it goes, and nothing runs any more. */
  #closeAfterPeer(): void {
    if (this.#peerGoaway !== undefined && this.#streams.size === 0) this.#close(endOf(this.#peerGoaway, 'remote'));
  }
}

function isMechanics(type: number): boolean {
  return type >= MECHANICS['stream.data'] && type <= MECHANICS['stream.end'] && type !== MECHANICS['session.ack'];
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
