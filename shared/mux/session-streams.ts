/** The streams' half of a session: opens and accepts them, hands them their frames, and gives them what they need. */
import type { Clock } from '../clock.ts';
import { type ErrorCode, FairleadError, toWireError } from '../errors.ts';
import { MAX_REASON_CHARS } from '../limits.ts';
import type { Catalogue, Params, StreamKind } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { fits, validate } from '../validate.ts';
import { type DeflateCount, Deflation, NOTHING_DEFLATED } from './deflate.ts';
import { encodeFrame, FLAGS, FRAME_HEADER_BYTES, type FrameHeader, MAX_BIN_HEAD_BYTES } from './frame.ts';
import type { LinkStats } from './link-stats.ts';
import type { MemoryPool } from './memory-pool.ts';
import { isPaidFor, PeerBudgets } from './peer-budgets.ts';
import { type Flow, FrameQueue, type OutFrame } from './scheduler.ts';
import { violation } from './session-end.ts';
import type { SessionLimits } from './session-limits.ts';
import { SessionMemory } from './session-memory.ts';
import { MuxStream } from './stream.ts';
import { toStreamError } from './stream-error.ts';
import type { StreamHost } from './stream-host.ts';
import { inboundOf, type StreamRole, sendsBytes } from './stream-role.ts';
import { type Side, StreamTable } from './stream-table.ts';
import { decodeValue, encodeValue } from './values.ts';
import type { Writer } from './writer.ts';

/** What the other end takes: its welcome tells the agent; the server goes by the limits that it advertises itself. */
export interface PeerLimits {
  readonly frameBytes: number;
  readonly windowBytes: number;
  readonly streams: number;
}

export interface SessionStreamsOptions {
  readonly side: Side;
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly writer: Writer;
  /** What is known of the network. */
  readonly link: LinkStats;
  /** Shared with the other sessions of the process. */
  readonly memory: MemoryPool | undefined;
  /** Finds out the round trip, which `link` then knows. */
  measureRoundTrip(): void;
  onStream(stream: MuxStream): void;
  /** The session must end. */
  fail(error: FairleadError): void;
  /** The last open stream has closed. */
  onIdle(): void;
}

/** How often the round trip is measured while windows are used, in ms. */
const MEASURE_EVERY_MS = 1_000;
const NO_RESETS: ReadonlyMap<string, number> = new Map();

export class SessionStreams implements StreamHost {
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly #options: SessionStreamsOptions;
  readonly #writer: Writer;
  readonly #table: StreamTable;
  readonly #budgets: PeerBudgets;
  #peerLimits: PeerLimits;
  #draining = false;
  #ended = false;
  readonly #memory: SessionMemory;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #starvedMs = 0;
  #opensOut = 0;
  #framesDropped = 0;
  #resets: Map<string, number> | undefined;
  #signals: FrameQueue | undefined;
  #mayDeflate = false;
  #deflation: Deflation | undefined;

  constructor(options: SessionStreamsOptions, peerLimits: PeerLimits) {
    this.#options = options;
    this.clock = options.clock;
    this.limits = options.limits;
    this.#writer = options.writer;
    this.#table = new StreamTable(options.side, options.limits, options.clock);
    this.#budgets = new PeerBudgets(options.clock, options.limits);
    this.#memory = new SessionMemory(options.limits, options.memory);
    this.#peerLimits = peerLimits;
  }

  get size(): number {
    return this.#table.size;
  }

  /** The highest stream that the peer has opened. */
  get highestOfPeer(): number {
    return this.#table.highestOfPeer;
  }

  get framesDropped(): number {
    return this.#framesDropped;
  }

  /** What all streams hold, or have promised to take, in bytes. */
  get memoryBytes(): number {
    return this.#memory.bytes;
  }

  get starvedMs(): number {
    return this.#starvedMs;
  }

  get resetsByCode(): ReadonlyMap<string, number> {
    return this.#resets ?? NO_RESETS;
  }

  /** Body bytes that wait to be sent, by class. */
  get queuedBytes(): { interactive: number; bulk: number } {
    const queued = { interactive: 0, bulk: 0 };
    for (const stream of this.#table.all()) queued[stream.kind.priority] += stream.flow.queued;
    return queued;
  }

  setPeerLimits(limits: PeerLimits): void {
    this.#peerLimits = limits;
  }

  /** No new streams from now on, in either direction. */
  drain(): void {
    this.#draining = true;
  }

  // ————— opening

  /** @throws FairleadError VALIDATION, MESSAGE_INVALID, OVERLOADED, SHUTDOWN */
  open<K extends StreamKind>(kind: K, params: Params<K>): MuxStream<K> {
    if (this.#draining) throw new FairleadError('SHUTDOWN', 'the session takes no new streams');
    this.#table.checkOwnRoom(this.#peerLimits.streams);
    if (!this.hasControlRoom(0)) throw new FairleadError('OVERLOADED', 'the peer does not read');
    if (!this.#hasMemoryFor(kind, 'opener')) throw lackOfMemory();
    const what = `the parameters of ${kind.name}`;
    const { depth, itemNodes: nodes } = this.limits;
    const bytes = this.#peerLimits.frameBytes - FRAME_HEADER_BYTES;
    const payload = encodeValue(validate(kind.params, params, what), { bytes, depth, nodes }, what);
    const id = this.#table.nextId();
    if (id === undefined) throw new FairleadError('SHUTDOWN', 'all stream ids of the session are used up');
    if (!this.#budgets.takeOwnOpen(payload.byteLength))
      throw new FairleadError('OVERLOADED', 'streams are opened too fast');
    this.#table.useOwnId(id);
    const stream = new MuxStream(this, 'opener', id, kind, params, this.#peerLimits.windowBytes);
    this.#table.add(stream as MuxStream<StreamKind>);
    this.#opensOut += 1;
    const flags = sendsBytes(kind, 'opener') ? FLAGS.OPEN : FLAGS.OPEN | FLAGS.END;
    this.queueControl({ head: encodeFrame(kind.code, id, flags, payload) });
    return stream;
  }

  // ————— what arrives

  /** Takes in a frame of any stream but the control channel; its header lies whole in `first`. @throws FairleadError if the session must end */
  receive(header: FrameHeader, first: Uint8Array, rest: readonly Uint8Array[]): void {
    const { type, stream: id, flags } = header;
    if (flags & FLAGS.OPEN) {
      const frame = rest.length === 0 ? first : Buffer.concat([first, ...rest]);
      this.#accept(header, frame.subarray(FRAME_HEADER_BYTES));
      return;
    }
    const stream = this.#table.get(id);
    if (stream === undefined) {
      this.#receiveForClosed(type, id);
      return;
    }
    if (type === MECHANICS['stream.reset'] && !this.#table.isOwn(id)) this.#budgets.countReset();
    stream.receive(type, flags, first, rest);
  }

  /** Frames that were on their way when their stream closed. */
  #receiveForClosed(type: number, id: number): void {
    if (!isMechanics(type)) throw violation(`a frame of unknown type ${type}`);
    this.#table.forgive(id);
    if (type === MECHANICS['stream.reset']) this.#budgets.countReset();
    else this.countControlFrame();
    this.#framesDropped += 1;
  }

  #accept(header: FrameHeader, payload: Uint8Array): void {
    const { stream: id } = header;
    const kind = this.#kindOf(header);
    this.#table.usePeerId(id);
    this.#budgets.countOpen(payload.byteLength);
    const { depth, itemNodes: nodes } = this.limits;
    const params = decodeValue(payload, { depth, nodes }, `the parameters of ${kind.name}`);
    const refusal = this.#refusalOf(kind, params);
    if (refusal !== undefined) {
      this.sendReset(id, refusal);
      return;
    }
    const stream = new MuxStream(
      this,
      'acceptor',
      id,
      kind,
      params as Params<StreamKind>,
      this.#peerLimits.windowBytes,
    );
    this.#table.add(stream);
    try {
      this.#options.onStream(stream);
    } catch (error) {
      stream.reset(toStreamError(error));
    }
  }

  /** The kind that an OPEN names. @throws FairleadError PROTOCOL_ERROR unless the peer may open it like that */
  #kindOf({ type, flags }: FrameHeader): StreamKind {
    const kind = this.#options.catalogue.streams.get(type);
    if (kind === undefined) throw violation(`a stream of unknown type ${type}`);
    if (kind.from === this.#options.side) throw violation(`${kind.name} was opened by the wrong end`);
    if (flags & FLAGS.MORE) throw violation('an OPEN with MORE');
    const ends = (flags & FLAGS.END) !== 0;
    if (ends === sendsBytes(kind, 'opener')) throw violation(`an OPEN of ${kind.name} with END out of place`);
    return kind;
  }

  /** Why a stream is not taken on, if it is not. */
  #refusalOf(kind: StreamKind, params: unknown): FairleadError | undefined {
    if (this.#draining) return new FairleadError('SHUTDOWN', 'the session takes no new streams');
    if (!this.#table.hasPeerRoom) return new FairleadError('OVERLOADED', 'too many streams are open');
    if (!this.#hasMemoryFor(kind, 'acceptor')) return lackOfMemory();
    if (fits(kind.params, params)) return undefined;
    return new FairleadError('MESSAGE_INVALID', `the parameters of ${kind.name} do not fit their schema`);
  }

  #hasMemoryFor(kind: StreamKind, role: StreamRole): boolean {
    return inboundOf(kind, role) === 'nothing' || this.#memory.hasStreamRoom;
  }

  // ————— the end

  /** Interrupts the own streams that the peer has not taken on before it announced that it goes. */
  interruptAfter(lastStream: number, error: FairleadError): void {
    for (const stream of this.#table.all()) {
      if (this.#table.isOwn(stream.id) && stream.id > lastStream) stream.interrupt(error);
    }
  }

  /** Interrupts every stream: the session has ended. */
  end(error: FairleadError): void {
    this.#ended = true;
    for (const stream of this.#table.all()) stream.interrupt(error);
    this.#memory.close();
  }

  // ————— what streams need

  get payloadBytes(): number {
    const room = this.#peerLimits.frameBytes - FRAME_HEADER_BYTES - MAX_BIN_HEAD_BYTES;
    return Math.min(this.limits.payloadBytes, room, this.#options.link.payloadBytes);
  }

  get deliveryRate(): number | undefined {
    return this.#options.link.deliveryRateAt(this.clock.monotonic());
  }

  get roundTripMs(): number | undefined {
    const { roundTripMs, roundTripIdleMs } = this.#options.link;
    if (roundTripMs === undefined || roundTripIdleMs === undefined) return roundTripMs;
    return Math.min(roundTripMs, 2 * roundTripIdleMs);
  }

  measureRoundTrip(): void {
    const now = this.clock.monotonic();
    if (now - this.#measuredAt < MEASURE_EVERY_MS) return;
    this.#measuredAt = now;
    this.#options.measureRoundTrip();
  }

  get maxWindow(): number {
    return this.#memory.maxWindow(this.#table.size);
  }

  get windowRoom(): number {
    return this.#memory.windowRoom;
  }

  get deflation(): Deflation | undefined {
    // Made when first needed: most sessions are idle.
    if (this.#mayDeflate) this.#deflation ??= new Deflation(this.clock, this.limits.inflatedBytesPerSecond);
    return this.#deflation;
  }

  /** The greeting has agreed on compressed frames. */
  allowDeflate(): void {
    this.#mayDeflate = true;
  }

  /** Payload bytes of compressed frames out, before and after. */
  get deflated(): Readonly<DeflateCount> {
    return this.#deflation?.sent ?? NOTHING_DEFLATED;
  }

  /** The same of those that came in. */
  get inflated(): Readonly<DeflateCount> {
    return this.#deflation?.received ?? NOTHING_DEFLATED;
  }

  wake(flow: Flow): void {
    this.#writer.wake(flow);
  }

  queueControl(frame: OutFrame): void {
    this.#writer.queueControl(frame);
  }

  queueCredit(frame: OutFrame): void {
    this.#writer.queueCredit(frame);
  }

  queueSignal(frame: OutFrame): void {
    this.#signals ??= new FrameQueue();
    if (this.#signals.length >= this.limits.queuedControlFrames) {
      this.#options.fail(new FairleadError('OVERLOADED', 'the peer does not read its signals'));
      return;
    }
    this.#signals.push(frame);
    this.#writer.wake(this.#signals);
  }

  hasControlRoom(bytes: number): boolean {
    return this.#writer.hasControlRoom(bytes);
  }

  countStarved(ms: number): void {
    this.#starvedMs += ms;
  }

  countWindow(bytes: number): void {
    this.#memory.countWindow(bytes);
  }

  countQueued(bytes: number): void {
    this.#memory.countQueued(bytes);
  }

  countAssembly(bytes: number): boolean {
    return this.#memory.countAssembly(bytes);
  }

  /** Counts a message of the peer's on the control stream. @throws FairleadError if there are too many */
  countControlMessage(): void {
    this.#budgets.countMessage();
  }

  countControlFrame(): void {
    this.#budgets.countControl(this.#opensOut, this.#writer.bytes);
  }

  answered(id: number): void {
    this.#table.answered(id);
  }

  sendReset(id: number, error: FairleadError): void {
    const { code, message } = toWireError(error);
    this.#countReset(error.code);
    const { messageBytes: bytes, depth, nodes } = this.limits;
    const value = { code, message: message.slice(0, 4 * MAX_REASON_CHARS) };
    const payload = encodeValue(value, { bytes, depth, nodes }, 'a reset');
    this.queueControl({ head: encodeFrame(MECHANICS['stream.reset'], id, 0, payload) });
  }

  #countReset(code: ErrorCode): void {
    this.#resets ??= new Map();
    this.#resets.set(code, (this.#resets.get(code) ?? 0) + 1);
  }

  released(id: number, error: FairleadError | undefined, by: 'local' | 'remote'): void {
    if (!this.#table.remove(id) || this.#ended) return;
    const own = this.#table.isOwn(id);
    if (error !== undefined && by === 'remote') this.#countReset(error.code);
    if (isPaidFor(error, own === (by === 'local'))) this.#budgets.refundOpen(own ? 'self' : 'peer');
    if (this.#table.size === 0) this.#options.onIdle();
  }
}

function lackOfMemory(): FairleadError {
  return new FairleadError('OVERLOADED', 'no memory is left for another stream');
}

/** Whether a frame of this type may come on a stream that is open. */
function isMechanics(type: number): boolean {
  return type >= MECHANICS['stream.data'] && type <= MECHANICS['stream.end'] && type !== MECHANICS['session.ack'];
}
