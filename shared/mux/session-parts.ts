/** What a session is made of. Each part sees of the whole what its own interface names, and no more. */
import type { Clock } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import type { Goaway } from '../messages/control.ts';
import type { Catalogue, ControlKind } from '../messages/kind.ts';
import { Acks } from './acks.ts';
import { InFlight } from './in-flight.ts';
import type { LinkStats } from './link-stats.ts';
import { Liveness } from './liveness.ts';
import type { MemoryPool } from './memory-pool.ts';
import type { OutFrame } from './scheduler.ts';
import { type ArrivalsHost, SessionArrivals } from './session-arrivals.ts';
import { ControlChannel, type ControlHost, type SessionPhase } from './session-control.ts';
import { DEFAULT_LIMITS, type SessionLimits } from './session-limits.ts';
import type { SessionOptions } from './session-options.ts';
import type { PeerLimits } from './session-stream-host.ts';
import { SessionStreams, type SessionStreamsOptions } from './session-streams.ts';
import type { MuxStream } from './stream.ts';
import type { Side } from './stream-table.ts';
import { Writer, type WriterOptions } from './writer.ts';

/** What the parts ask of their session, and tell it. */
export interface SessionEvents {
  phase(): SessionPhase;
  /** A welcome was sent or has come: the greeting is over. */
  onReady(): void;
  /** The peer says that it goes. */
  onGoaway(value: Goaway): void;
  /** The last open stream has closed. */
  onIdle(): void;
  /** The session must end. */
  fail(error: FairleadError): void;
}

/** One object for all parts, with methods and not closures: a server holds thousands of sessions, and most are idle. */
export class SessionParts implements WriterOptions, SessionStreamsOptions, ControlHost, ArrivalsHost {
  readonly side: Side;
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly memory: MemoryPool | undefined;
  readonly acks: Acks;
  readonly inFlight = new InFlight();
  readonly writer: Writer;
  readonly liveness: Liveness;
  readonly streams: SessionStreams;
  readonly control: ControlChannel;
  readonly arrivals: SessionArrivals;
  readonly #options: SessionOptions;
  readonly #events: SessionEvents;

  constructor(options: SessionOptions, events: SessionEvents) {
    this.#options = options;
    this.#events = events;
    this.side = options.side;
    this.catalogue = options.catalogue;
    this.clock = options.clock;
    this.limits = options.limits === undefined ? DEFAULT_LIMITS : { ...DEFAULT_LIMITS, ...options.limits };
    this.memory = options.memory;
    this.acks = new Acks(this.limits);
    this.writer = new Writer(options.transport, this);
    this.liveness = new Liveness(this.clock);
    this.streams = new SessionStreams(this, this.advertised);
    this.control = new ControlChannel(this);
    this.arrivals = new SessionArrivals(this);
  }

  /** What a welcome from this end must say of its limits. */
  get advertised(): PeerLimits {
    const { frameBytes, initialWindowBytes, openStreams } = this.limits;
    return { frameBytes, windowBytes: initialWindowBytes, streams: openStreams };
  }

  get link(): LinkStats {
    return this.inFlight;
  }

  phase(): SessionPhase {
    return this.#events.phase();
  }

  measureRoundTrip(): void {
    // One that fails has measured nothing, and why is told elsewhere.
    if (this.phase() === 'ready') this.control.ping().catch(() => undefined);
  }

  nextAck(): OutFrame | undefined {
    return this.arrivals.nextAck();
  }

  onOverflow(): void {
    this.fail(new FairleadError('OVERLOADED', 'the peer does not read what it makes this end say'));
  }

  onStream(stream: MuxStream): void {
    this.#options.onStream(stream);
  }

  onControl(kind: ControlKind, value: unknown): void {
    this.#options.onControl(kind, value);
  }

  onActivity(): void {
    this.#options.onActivity?.();
  }

  onReady(): void {
    this.#events.onReady();
  }

  onGoaway(value: Goaway): void {
    this.#events.onGoaway(value);
  }

  onIdle(): void {
    this.#events.onIdle();
  }

  fail(error: FairleadError): void {
    this.#events.fail(error);
  }
}
