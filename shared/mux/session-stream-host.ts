/** What the streams of one session need of it: its way out, what it knows of the network, its memory and its accounts. */
import type { Clock } from '../clock.ts';
import { type ErrorCode, FairleadError, toWireError } from '../errors.ts';
import { MAX_REASON_CHARS } from '../limits.ts';
import type { StreamKind } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { type DeflateCount, Deflation, NOTHING_DEFLATED } from './deflate.ts';
import { encodeFrame, FLAGS, FRAME_HEADER_BYTES, MAX_BIN_HEAD_BYTES } from './frame.ts';
import type { LinkStats } from './link-stats.ts';
import type { MemoryPool } from './memory-pool.ts';
import { isPaidFor, type PeerBudgets } from './peer-budgets.ts';
import { type Flow, FrameQueue, type OutFrame } from './scheduler.ts';
import type { SessionLimits } from './session-limits.ts';
import { SessionMemory } from './session-memory.ts';
import type { StreamHost } from './stream-host.ts';
import { sendsBytes } from './stream-role.ts';
import type { StreamTable } from './stream-table.ts';
import { encodeValue } from './values.ts';
import type { Writer } from './writer.ts';

/** What the other end takes: its welcome tells the agent; the server goes by the limits that it advertises itself. */
export interface PeerLimits {
  readonly frameBytes: number;
  readonly windowBytes: number;
  readonly streams: number;
}

/** What a session gives its streams to work with. */
export interface StreamHostParts {
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly writer: Writer;
  /** What is known of the network. */
  readonly link: LinkStats;
  /** Shared with the other sessions of the process. */
  readonly memory: MemoryPool | undefined;
  /** Finds out the round trip, which `link` then knows. */
  measureRoundTrip(): void;
  /** The session must end. */
  fail(error: FairleadError): void;
  /** The last open stream has closed. */
  onIdle(): void;
}

/** How often the round trip is measured while windows are used, in ms. */
const MEASURE_EVERY_MS = 1_000;
const NO_RESETS: ReadonlyMap<string, number> = new Map();

export class SessionStreamHost implements StreamHost {
  readonly clock: Clock;
  readonly limits: SessionLimits;
  peerLimits: PeerLimits;
  readonly #parts: StreamHostParts;
  readonly #table: StreamTable;
  readonly #budgets: PeerBudgets;
  readonly #memory: SessionMemory;
  #ended = false;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #starvedMs = 0;
  #opensOut = 0;
  #resets: Map<string, number> | undefined;
  #signals: FrameQueue | undefined;
  #mayDeflate = false;
  #deflation: Deflation | undefined;

  constructor(parts: StreamHostParts, table: StreamTable, budgets: PeerBudgets, peerLimits: PeerLimits) {
    this.clock = parts.clock;
    this.limits = parts.limits;
    this.peerLimits = peerLimits;
    this.#parts = parts;
    this.#table = table;
    this.#budgets = budgets;
    this.#memory = new SessionMemory(parts.limits, parts.memory);
  }

  // ————— the way out

  wake(flow: Flow): void {
    this.#parts.writer.wake(flow);
  }

  queueControl(frame: OutFrame): void {
    this.#parts.writer.queueControl(frame);
  }

  queueCredit(frame: OutFrame): void {
    this.#parts.writer.queueCredit(frame);
  }

  queueSignal(frame: OutFrame): void {
    this.#signals ??= new FrameQueue();
    if (this.#signals.length >= this.limits.queuedControlFrames) {
      this.#parts.fail(new FairleadError('OVERLOADED', 'the peer does not read its signals'));
      return;
    }
    this.#signals.push(frame);
    this.#parts.writer.wake(this.#signals);
  }

  hasControlRoom(bytes: number): boolean {
    return this.#parts.writer.hasControlRoom(bytes);
  }

  /** Sends the OPEN of a stream of this end's. */
  sendOpen(kind: StreamKind, id: number, payload: Uint8Array): void {
    this.#opensOut += 1;
    const flags = sendsBytes(kind, 'opener') ? FLAGS.OPEN : FLAGS.OPEN | FLAGS.END;
    this.queueControl({ head: encodeFrame(kind.code, id, flags, payload) });
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

  /** How many streams were reset with each code, by either end. */
  get resetsByCode(): ReadonlyMap<string, number> {
    return this.#resets ?? NO_RESETS;
  }

  // ————— the network

  get payloadBytes(): number {
    const room = this.peerLimits.frameBytes - FRAME_HEADER_BYTES - MAX_BIN_HEAD_BYTES;
    return Math.min(this.limits.payloadBytes, room, this.#parts.link.payloadBytes);
  }

  get deliveryRate(): number | undefined {
    return this.#parts.link.deliveryRateAt(this.clock.monotonic());
  }

  get roundTripMs(): number | undefined {
    const { roundTripMs, roundTripIdleMs } = this.#parts.link;
    if (roundTripMs === undefined || roundTripIdleMs === undefined) return roundTripMs;
    return Math.min(roundTripMs, 2 * roundTripIdleMs);
  }

  measureRoundTrip(): void {
    const now = this.clock.monotonic();
    if (now - this.#measuredAt < MEASURE_EVERY_MS) return;
    this.#measuredAt = now;
    this.#parts.measureRoundTrip();
  }

  // ————— compression

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

  // ————— memory

  get maxWindow(): number {
    return this.#memory.maxWindow(this.#table.size);
  }

  get windowRoom(): number {
    return this.#memory.windowRoom;
  }

  /** Whether there is room for the initial window of one more stream. */
  get hasStreamRoom(): boolean {
    return this.#memory.hasStreamRoom;
  }

  /** What all streams hold, or have promised to take, in bytes. */
  get memoryBytes(): number {
    return this.#memory.bytes;
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

  // ————— accounts

  /** Time in which streams had bytes to send and no credit, summed, in ms. */
  get starvedMs(): number {
    return this.#starvedMs;
  }

  countStarved(ms: number): void {
    this.#starvedMs += ms;
  }

  countControlFrame(): void {
    this.#budgets.countControl(this.#opensOut, this.#parts.writer.bytes);
  }

  answered(id: number): void {
    this.#table.answered(id);
  }

  released(id: number, error: FairleadError | undefined, by: 'local' | 'remote'): void {
    if (!this.#table.remove(id) || this.#ended) return;
    const own = this.#table.isOwn(id);
    if (error !== undefined && by === 'remote') this.#countReset(error.code);
    if (isPaidFor(error, own === (by === 'local'))) this.#budgets.refundOpen(own ? 'self' : 'peer');
    if (this.#table.size === 0) this.#parts.onIdle();
  }

  /** The session has ended: gives its memory back, and what its streams still tell counts no more. */
  end(): void {
    this.#ended = true;
    this.#memory.close();
  }
}
