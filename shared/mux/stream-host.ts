/** What a stream needs of its session, and no more. */
import type { Clock } from '../clock.ts';
import type { FairleadError } from '../errors.ts';
import type { Deflation } from './deflate.ts';
import type { Flow, OutFrame } from './scheduler.ts';
import type { SessionLimits } from './session-limits.ts';

export interface StreamHost {
  readonly clock: Clock;
  readonly limits: SessionLimits;
  /** The largest body of a frame that the peer takes, in bytes. */
  readonly payloadBytes: number;
  /** What the network delivers, in bytes per second; undefined unless it was measured of late. */
  readonly deliveryRate: number | undefined;
  /** The round trip in ms, with no more waiting on the way than the way itself takes; undefined until one was measured. */
  readonly roundTripMs: number | undefined;
  /** Compressed payloads; undefined unless both ends have agreed on them. */
  readonly deflation: Deflation | undefined;
  /** Tells the scheduler that a stream has body frames to send. */
  wake(flow: Flow): void;
  /** Queues a frame of the control class. */
  queueControl(frame: OutFrame): void;
  /** Queues a `stream.window`: control, but in no hurry. */
  queueCredit(frame: OutFrame): void;
  /** Queues a `stream.signal`: interactive, without credit. */
  queueSignal(frame: OutFrame): void;
  /** Whether the control queue takes so many bytes more. */
  hasControlRoom(bytes: number): boolean;
  /** Counts time in which a stream had bytes to send and no credit. */
  countStarved(ms: number): void;
  /** The largest window of one stream now: a fair part of what session and process have, in bytes. */
  readonly maxWindow: number;
  /** What session and process have left for windows, in bytes; may be negative. */
  readonly windowRoom: number;
  /** A window is being used, so that the round trip should be known. Does nothing if that was measured of late. */
  measureRoundTrip(): void;
  /** Counts bytes that the peer may still send or the application has not taken yet. */
  countWindow(bytes: number): void;
  /** Counts bytes that wait to be sent. */
  countQueued(bytes: number): void;
  /** Counts bytes of messages that are being put together without credit. @returns false if there is no room. */
  countAssembly(bytes: number): boolean;
  /** Counts a control frame from the peer. @throws FairleadError if there are too many */
  countControlFrame(): void;
  /** The acceptor has answered the stream. */
  answered(id: number): void;
  /** Sends `stream.reset`. */
  sendReset(id: number, error: FairleadError): void;
  /** The stream is closed; the session forgets it. `error` is undefined after a clean end. */
  released(id: number, error: FairleadError | undefined, by: 'local' | 'remote'): void;
}
