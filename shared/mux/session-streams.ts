/** The streams' half of a session: opens and accepts them, hands them their frames, and ends them with it. */
import { FairleadError } from '../errors.ts';
import type { Catalogue, Params, StreamKind } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { fits, validate } from '../validate.ts';
import { FLAGS, FRAME_HEADER_BYTES, type FrameHeader } from './frame.ts';
import { PeerBudgets } from './peer-budgets.ts';
import { violation } from './session-end.ts';
import type { SessionLimits } from './session-limits.ts';
import { type PeerLimits, SessionStreamHost, type StreamHostParts } from './session-stream-host.ts';
import { MuxStream } from './stream.ts';
import { toStreamError } from './stream-error.ts';
import { inboundOf, type StreamRole, sendsBytes } from './stream-role.ts';
import { type Side, StreamTable } from './stream-table.ts';
import { decodeValue, encodeValue } from './values.ts';

export interface SessionStreamsOptions extends StreamHostParts {
  readonly side: Side;
  readonly catalogue: Catalogue;
  onStream(stream: MuxStream): void;
}

export class SessionStreams {
  readonly host: SessionStreamHost;
  readonly #options: SessionStreamsOptions;
  readonly #limits: SessionLimits;
  readonly #table: StreamTable;
  readonly #budgets: PeerBudgets;
  #draining = false;
  #framesDropped = 0;

  constructor(options: SessionStreamsOptions, peerLimits: PeerLimits) {
    const { side, limits, clock } = options;
    this.#options = options;
    this.#limits = limits;
    this.#table = new StreamTable(side, limits, clock);
    this.#budgets = new PeerBudgets(clock, limits);
    this.host = new SessionStreamHost(options, this.#table, this.#budgets, peerLimits);
  }

  get size(): number {
    return this.#table.size;
  }

  /** The highest stream that the peer has opened. */
  get highestOfPeer(): number {
    return this.#table.highestOfPeer;
  }

  /** Frames that came for streams that had closed. */
  get framesDropped(): number {
    return this.#framesDropped;
  }

  /** Body bytes that wait to be sent, by class. */
  get queuedBytes(): { interactive: number; bulk: number } {
    const queued = { interactive: 0, bulk: 0 };
    for (const stream of this.#table.all()) queued[stream.kind.priority] += stream.flow.queued;
    return queued;
  }

  /** No new streams from now on, in either direction. */
  drain(): void {
    this.#draining = true;
  }

  // ————— opening

  /** @throws FairleadError VALIDATION, MESSAGE_INVALID, OVERLOADED, SHUTDOWN */
  open<K extends StreamKind>(kind: K, params: Params<K>): MuxStream<K> {
    if (this.#draining) throw new FairleadError('SHUTDOWN', 'the session takes no new streams');
    const { frameBytes, windowBytes, streams } = this.host.peerLimits;
    this.#table.checkOwnRoom(streams);
    if (!this.host.hasControlRoom(0)) throw new FairleadError('OVERLOADED', 'the peer does not read');
    if (!this.#hasMemoryFor(kind, 'opener')) throw lackOfMemory();
    const what = `the parameters of ${kind.name}`;
    const { depth, itemNodes: nodes } = this.#limits;
    const bytes = frameBytes - FRAME_HEADER_BYTES;
    const payload = encodeValue(validate(kind.params, params, what), { bytes, depth, nodes }, what);
    const id = this.#table.nextId();
    if (id === undefined) throw new FairleadError('SHUTDOWN', 'all stream ids of the session are used up');
    if (!this.#budgets.takeOwnOpen(payload.byteLength))
      throw new FairleadError('OVERLOADED', 'streams are opened too fast');
    this.#table.useOwnId(id);
    const stream = new MuxStream(this.host, 'opener', id, kind, params, windowBytes);
    this.#table.add(stream as MuxStream<StreamKind>);
    this.host.sendOpen(kind, id, payload);
    return stream;
  }

  // ————— what arrives

  /** Counts a message of the peer's on the control stream. @throws FairleadError if there are too many */
  countControlMessage(): void {
    this.#budgets.countMessage();
  }

  /**
   * Takes in a frame of any stream but the control channel; its header lies whole in `first`.
   * @throws FairleadError if the session must end
   */
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
    else this.host.countControlFrame();
    this.#framesDropped += 1;
  }

  #accept(header: FrameHeader, payload: Uint8Array): void {
    const { stream: id } = header;
    const kind = this.#kindOf(header);
    this.#table.usePeerId(id);
    this.#budgets.countOpen(payload.byteLength);
    const { depth, itemNodes: nodes } = this.#limits;
    const params = decodeValue(payload, { depth, nodes }, `the parameters of ${kind.name}`);
    const refusal = this.#refusalOf(kind, params);
    if (refusal !== undefined) {
      this.host.sendReset(id, refusal);
      return;
    }
    const { windowBytes } = this.host.peerLimits;
    const stream = new MuxStream(this.host, 'acceptor', id, kind, params as Params<StreamKind>, windowBytes);
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
    return inboundOf(kind, role) === 'nothing' || this.host.hasStreamRoom;
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
    this.host.end();
    for (const stream of this.#table.all()) stream.interrupt(error);
  }
}

function lackOfMemory(): FairleadError {
  return new FairleadError('OVERLOADED', 'no memory is left for another stream');
}

/** Whether a frame of this type may come on a stream that is open. */
function isMechanics(type: number): boolean {
  return type >= MECHANICS['stream.data'] && type <= MECHANICS['stream.end'] && type !== MECHANICS['session.ack'];
}
