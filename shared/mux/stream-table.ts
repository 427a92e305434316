/** The streams of one session: which are open, which wait for their answer, and which ids are used up. */
import type { Clock } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import { ClosedStreams } from './closed-streams.ts';
import { MAX_STREAM_ID } from './frame.ts';
import { violation } from './session-end.ts';
import type { SessionLimits } from './session-limits.ts';
import type { MuxStream } from './stream.ts';

export type Side = 'server' | 'agent';

/** What one end of the session has opened. */
class OpenedBy {
  readonly ids: ClosedStreams;
  /** Streams that their acceptor has not answered. */
  readonly unanswered = new Set<number>();

  constructor(ids: ClosedStreams) {
    this.ids = ids;
  }
}

export class StreamTable {
  readonly #side: Side;
  readonly #limits: SessionLimits;
  readonly #clock: Clock;
  readonly #open = new Map<number, MuxStream>();
  readonly #own: OpenedBy;
  readonly #peer: OpenedBy;

  constructor(side: Side, limits: SessionLimits, clock: Clock) {
    this.#side = side;
    this.#limits = limits;
    this.#clock = clock;
    const now = clock.monotonic();
    this.#own = new OpenedBy(new ClosedStreams(limits.closedGraceMs, now));
    this.#peer = new OpenedBy(new ClosedStreams(limits.closedGraceMs, now));
  }

  get size(): number {
    return this.#open.size;
  }

  /** The highest stream that the peer has opened. */
  get highestOfPeer(): number {
    return this.#peer.ids.highest;
  }

  get(id: number): MuxStream | undefined {
    return this.#open.get(id);
  }

  /** The open streams, as a list that closing streams does not change. */
  all(): MuxStream[] {
    return [...this.#open.values()];
  }

  /** Whether the id is one that this end opens. */
  isOwn(id: number): boolean {
    return (id % 2 === 0) === (this.#side === 'server');
  }

  #openedBy(id: number): OpenedBy {
    return this.isOwn(id) ? this.#own : this.#peer;
  }

  /** The next id of this end, or undefined once all are used up. */
  nextId(): number | undefined {
    const { highest } = this.#own.ids;
    const id = highest === 0 ? (this.#side === 'server' ? 2 : 1) : highest + 2;
    return id <= MAX_STREAM_ID ? id : undefined;
  }

  /** @param streams how many the peer takes. @throws FairleadError OVERLOADED if this end may open no stream now */
  checkOwnRoom(streams: number): void {
    const most = Math.min(this.#limits.openStreams, streams);
    if (this.#open.size >= most) throw new FairleadError('OVERLOADED', `${most} streams are open already`);
    const { unansweredOpens } = this.#limits;
    if (this.#own.unanswered.size < unansweredOpens) return;
    throw new FairleadError('OVERLOADED', `${unansweredOpens} streams wait for their answer already`);
  }

  /** Whether the peer may open one more stream. */
  get hasPeerRoom(): boolean {
    const { openStreams, unansweredOpens } = this.#limits;
    return this.#open.size < openStreams && this.#peer.unanswered.size < unansweredOpens;
  }

  /** Uses up an id of the peer's. @throws FairleadError PROTOCOL_ERROR unless it is a new one of its own */
  usePeerId(id: number): void {
    if (this.isOwn(id)) throw violation(`the peer opened stream ${id}, which is not its to open`);
    if (id <= this.#peer.ids.highest) throw violation(`stream ${id} was opened again`);
    this.#peer.ids.opened(id, this.#clock.monotonic());
  }

  /** Uses up an id of this end's. */
  useOwnId(id: number): void {
    this.#own.ids.opened(id, this.#clock.monotonic());
  }

  add(stream: MuxStream): void {
    this.#open.set(stream.id, stream);
    this.#openedBy(stream.id).unanswered.add(stream.id);
  }

  answered(id: number): void {
    this.#openedBy(id).unanswered.delete(id);
  }

  /** @returns whether the stream was open */
  remove(id: number): boolean {
    if (!this.#open.delete(id)) return false;
    const openedBy = this.#openedBy(id);
    openedBy.unanswered.delete(id);
    openedBy.ids.closed(id, this.#clock.monotonic());
    return true;
  }

  /** @throws FairleadError PROTOCOL_ERROR if a frame for a stream that is not open cannot be one that was on its way */
  forgive(id: number): void {
    const { ids } = this.#openedBy(id);
    if (id > ids.highest) throw violation(`a frame for stream ${id}, which was never opened`);
    if (!ids.forgives(id, this.#clock.monotonic()))
      throw violation(`a frame for stream ${id}, which has long been closed`);
  }
}
