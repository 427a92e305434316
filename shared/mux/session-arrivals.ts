/** What arrives at a session: each frame is counted, its size and header are checked, and it goes to its stream. */
import type { Clock } from '../clock.ts';
import { FairleadError, toWireError } from '../errors.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import type { Acks } from './acks.ts';
import {
  CONTROL_STREAM,
  decodeHeader,
  FLAGS,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  hasUnknownFlags,
  MIN_FRAME_START_BYTES,
} from './frame.ts';
import type { InFlight } from './in-flight.ts';
import type { Liveness } from './liveness.ts';
import type { OutFrame } from './scheduler.ts';
import type { ControlChannel, SessionPhase } from './session-control.ts';
import { violation } from './session-end.ts';
import type { SessionLimits } from './session-limits.ts';
import type { SessionStreams } from './session-streams.ts';
import type { Writer } from './writer.ts';

const NO_PARTS: readonly Uint8Array[] = [];

/** What arriving frames need of their session, and no more. */
export interface ArrivalsHost {
  readonly clock: Clock;
  readonly limits: SessionLimits;
  readonly writer: Writer;
  readonly streams: SessionStreams;
  readonly control: ControlChannel;
  readonly acks: Acks;
  readonly inFlight: InFlight;
  readonly liveness: Liveness;
  phase(): SessionPhase;
  /** Any frame arrived. */
  onActivity(): void;
  /** The session must end. */
  fail(error: FairleadError): void;
}

export class SessionArrivals {
  readonly #host: ArrivalsHost;
  #bytes = 0;
  #frames = 0;
  #lastAt: number;

  constructor(host: ArrivalsHost) {
    this.#host = host;
    this.#lastAt = host.clock.now();
  }

  /** Frame bytes, headers included. */
  get bytes(): number {
    return this.#bytes;
  }

  get frames(): number {
    return this.#frames;
  }

  /** When the last frame came, ms since 1970. */
  get lastAt(): number {
    return this.#lastAt;
  }

  /** Takes in a frame, whose parts after the first may be missing. Never throws: a frame that breaks the protocol ends the session. */
  message(first: Uint8Array, rest: readonly Uint8Array[] = NO_PARTS): void {
    const { clock, liveness } = this.#host;
    if (this.#host.phase() === 'ended') return;
    this.#frames += 1;
    const bytes = rest.reduce((sum, part) => sum + part.byteLength, first.byteLength);
    this.#bytes += bytes;
    liveness.heard();
    this.#lastAt = clock.now();
    try {
      this.#host.onActivity();
      if (rest.length > 0 && first.byteLength < MIN_FRAME_START_BYTES)
        this.#receive(Buffer.concat([first, ...rest]), NO_PARTS, bytes);
      else this.#receive(first, rest, bytes);
      if (this.#host.phase() === 'ready') this.#acknowledge();
      this.#expectAcks();
    } catch (error) {
      // Whatever a peer sends may end its session, never the process.
      const { message } = toWireError(error);
      this.#host.fail(
        error instanceof FairleadError ? error : new FairleadError('INTERNAL', message, { cause: error }),
      );
    }
  }

  /** A peer that is alive and never acknowledges would stop every stream for ever. */
  #expectAcks(): void {
    const { inFlight, limits, liveness } = this.#host;
    if (inFlight.unacknowledgedMs(liveness.heardAt) <= limits.ackSilenceMs) return;
    throw new FairleadError('TIMEOUT', 'the peer does not acknowledge what it was sent');
  }

  #acknowledge(): void {
    if (this.#host.acks.isDue(this.#bytes)) this.#host.writer.scheduleAck();
  }

  /** The ack to send now, together with others, if any. */
  nextAck(): OutFrame | undefined {
    const { acks, liveness } = this.#host;
    return this.#host.phase() === 'ready'
      ? acks.next(this.#bytes, liveness.heardAt, () => this.#acknowledge())
      : undefined;
  }

  #receive(first: Uint8Array, rest: readonly Uint8Array[], bytes: number): void {
    const { limits, streams, control } = this.#host;
    const phase = this.#host.phase();
    const limit = phase === 'greeting' ? limits.greetingFrameBytes : limits.frameBytes;
    if (bytes > limit) {
      throw new FairleadError('FRAME_TOO_LARGE', `a frame of ${bytes} bytes, and the limit is ${limit}`);
    }
    const header = decodeHeader(first);
    if (header === undefined) throw violation('a frame is shorter than its header');
    if (hasUnknownFlags(header.flags)) throw violation(`unknown flags ${header.flags}`);
    if (header.flags & FLAGS.DEFLATED) checkDeflated(header, streams.host.deflation !== undefined);
    if (header.stream !== CONTROL_STREAM) {
      if (phase === 'greeting') throw violation('a stream before the welcome');
      streams.receive(header, first, rest);
      return;
    }
    if (header.flags !== 0) throw violation('flags on the control stream');
    const frame = rest.length === 0 ? first : Buffer.concat([first, ...rest]);
    control.receive(header.type, frame.subarray(FRAME_HEADER_BYTES));
  }
}

/** Types whose payload may be compressed. */
const DEFLATABLE: ReadonlySet<number> = new Set([
  MECHANICS['stream.data'],
  MECHANICS.reply,
  MECHANICS.item,
  MECHANICS.trailer,
]);

/** @throws FairleadError PROTOCOL_ERROR unless a frame with this header may be compressed */
function checkDeflated({ type }: FrameHeader, agreed: boolean): void {
  if (!agreed) throw violation('a compressed frame, which was not negotiated');
  if (!DEFLATABLE.has(type)) throw violation(`a compressed frame of type ${type}`);
}
