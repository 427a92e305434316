/** The control channel of a session: it sends control messages, and checks, decodes and takes those of the peer. */
import type { Static } from 'typebox';
import type { Clock } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import { MAX_REASON_CHARS } from '../limits.ts';
import { type Goaway, goaway, type Hello, hello, ping, pong, type Welcome, welcome } from '../messages/control.ts';
import type { Catalogue, ControlKind, Direction } from '../messages/kind.ts';
import { MECHANICS } from '../messages/mechanics.ts';
import { fits, validate } from '../validate.ts';
import type { Acks } from './acks.ts';
import { CONTROL_STREAM, encodeFrame, FRAME_HEADER_BYTES } from './frame.ts';
import type { InFlight } from './in-flight.ts';
import { Outcome } from './outcome.ts';
import { Pings } from './pings.ts';
import { type GoawayOptions, violation } from './session-end.ts';
import type { SessionLimits } from './session-limits.ts';
import type { PeerLimits } from './session-stream-host.ts';
import type { SessionStreams } from './session-streams.ts';
import { decodeValue, encodeValue } from './values.ts';
import type { Writer } from './writer.ts';

const PING_TIMEOUT_MS = 10_000;

export type SessionPhase = 'greeting' | 'ready' | 'ended';

/** What the control channel needs of its session, and no more. */
export interface ControlHost {
  readonly side: 'server' | 'agent';
  readonly catalogue: Catalogue;
  readonly clock: Clock;
  readonly limits: SessionLimits;
  /** What a welcome from this end may grant. */
  readonly advertised: PeerLimits;
  readonly writer: Writer;
  readonly streams: SessionStreams;
  readonly acks: Acks;
  readonly inFlight: InFlight;
  phase(): SessionPhase;
  /** A welcome was sent or has come: the greeting is over. */
  onReady(): void;
  /** The peer says that it goes. */
  onGoaway(value: Goaway): void;
  /** A control message came that the session does not handle inside. */
  onControl(kind: ControlKind, value: unknown): void;
}

/** Whether what goes in this direction is sent by this side. */
export function maySend(side: 'server' | 'agent', from: Direction): boolean {
  return from === 'both' || from === side;
}

export class ControlChannel {
  /** The peer's hello or welcome. */
  readonly greeting = new Outcome<Hello | Welcome>();
  readonly #host: ControlHost;
  /** The compressions that the agent has named in its hello. */
  #offered: readonly string[] = [];
  #pings: Pings | undefined;

  constructor(host: ControlHost) {
    this.#host = host;
  }

  // ————— what this end says

  /**
   * Sends a control message; a welcome makes the session ready. Does nothing once the session has ended.
   * @throws FairleadError VALIDATION if the value does not fit its schema, MESSAGE_INVALID if it is too large
   */
  send<K extends ControlKind>(kind: K, value: Static<K['value']>): void {
    const { side, writer } = this.#host;
    const phase = this.#host.phase();
    if (!maySend(side, kind.from)) throw new Error(`${kind.name} is not sent by the ${side}`);
    if (phase === 'ended') return;
    if (phase === 'greeting' && !greets(kind)) throw new Error(`${kind.name} was sent before the welcome`);
    if (kind.code === welcome.code) this.#checkWelcome(value as Welcome);
    writer.queueControl({ head: this.#encode(kind, value) });
    if (kind.code === hello.code) this.#offered = (value as Hello).compression ?? [];
    if (kind.code !== welcome.code) return;
    if ((value as Welcome).compression !== undefined) this.#host.streams.host.allowDeflate();
    this.#host.onReady();
  }

  /** A welcome that grants what this end would then refuse is a mistake to find at once. */
  #checkWelcome(value: Welcome): void {
    const own = this.#host.advertised;
    const { frameBytes, windowBytes, streams } = value.limits;
    if (!this.#mayUse(value.compression)) throw new Error('a welcome names a compression that was not offered');
    if (frameBytes <= own.frameBytes && windowBytes <= own.windowBytes && streams <= own.streams) return;
    throw new Error('a welcome grants more than the limits of its session');
  }

  #mayUse(compression: string | undefined): boolean {
    return compression === undefined || this.#offered.includes(compression);
  }

  #encode(kind: ControlKind, value: unknown): Uint8Array {
    const { frameBytes, greetingFrameBytes, depth, nodes } = this.#host.limits;
    // A welcome ends the greeting, but the agent knows that only once it has read it.
    const most = this.#host.phase() === 'greeting' ? greetingFrameBytes : frameBytes;
    const limits = { bytes: most - FRAME_HEADER_BYTES, depth, nodes };
    const payload = encodeValue(validate(kind.value, value, kind.name), limits, kind.name);
    return encodeFrame(kind.code, CONTROL_STREAM, 0, payload);
  }

  /** @returns the round trip in ms. @throws FairleadError TIMEOUT (10 s unless given), OVERLOADED, or what `failPings` is called with */
  ping(timeoutMs = PING_TIMEOUT_MS): Promise<number> {
    return this.#pingsOf()
      .send(timeoutMs, (id) => this.send(ping, { id }))
      .then((ms) => {
        this.#host.inFlight.ponged(ms, this.#host.clock.monotonic());
        return ms;
      });
  }

  #pingsOf(): Pings {
    this.#pings ??= new Pings(this.#host.clock, this.#host.limits.pendingPings);
    return this.#pings;
  }

  /** No pong will come any more. */
  failPings(error: FairleadError): void {
    this.#pings?.fail(error);
  }

  /** A goaway, encoded; its sender decides how it leaves. */
  goawayFrame(end: GoawayOptions): Uint8Array {
    const { code, reason, retryAfterMs, versions } = end;
    return this.#encode(goaway, {
      code,
      reason: reason.slice(0, MAX_REASON_CHARS),
      lastStream: this.#host.streams.highestOfPeer,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(versions === undefined ? {} : { versions }),
    });
  }

  // ————— what the peer says

  /** Takes in a frame of the control stream. @throws FairleadError if the peer broke the protocol: the session must end */
  receive(type: number, payload: Uint8Array): void {
    const { side, catalogue, clock, limits, writer, streams, acks, inFlight } = this.#host;
    const phase = this.#host.phase();
    streams.host.countControlFrame();
    if (type === MECHANICS['session.ack'] && phase === 'ready') {
      acks.take(payload, writer.bytes);
      inFlight.acked(acks.acked, acks.ackedAt, clock.monotonic());
      const question = acks.ask(inFlight.inFlightLimit, inFlight.bytesPerMs);
      if (question !== undefined) writer.queueControl(question);
      writer.acknowledged();
      return;
    }
    if (type === MECHANICS['session.ack.frequency'] && phase === 'ready') {
      acks.takeFrequency(payload);
      return;
    }
    const kind = catalogue.control.get(type);
    if (kind === undefined) throw violation(`a control frame of unknown type ${type}`);
    if (kind.from === side) throw violation(`${kind.name} was sent by the wrong end`);
    if (phase === 'greeting' ? !greets(kind) && kind.code !== goaway.code : greets(kind)) {
      throw violation(`${kind.name} while the session is ${phase}`);
    }
    streams.countControlMessage();
    const { controlMessageBytes, controlMessageNodes: nodes, depth } = limits;
    if (payload.byteLength > controlMessageBytes) {
      throw new FairleadError(
        'MESSAGE_INVALID',
        `${kind.name} takes ${payload.byteLength} bytes, and the limit is ${controlMessageBytes}`,
      );
    }
    const value = decodeValue(payload, { depth, nodes }, kind.name);
    if (!fits(kind.value, value)) throw new FairleadError('MESSAGE_INVALID', `${kind.name} does not fit its schema`);
    this.#take(kind, value);
  }

  #take(kind: ControlKind, value: unknown): void {
    switch (kind.code) {
      case hello.code:
        if (this.greeting.settled) throw violation('a second hello');
        this.#offered = (value as Hello).compression ?? [];
        this.greeting.resolve(value as Hello);
        break;
      case welcome.code:
        this.#takeWelcome(value as Welcome);
        break;
      case ping.code: {
        const head = this.#encode(pong, { id: (value as Static<typeof ping.value>).id });
        this.#pingsOf().answer((sent) => this.#host.writer.queueControl({ head, sent }));
        break;
      }
      case pong.code:
        this.#pings?.pong((value as Static<typeof pong.value>).id);
        break;
      case goaway.code:
        this.#host.onGoaway(value as Goaway);
        break;
      default:
        this.#host.onControl(kind, value);
    }
  }

  #takeWelcome(value: Welcome): void {
    const { frameBytes, windowBytes, streams } = value.limits;
    const { greetingFrameBytes, maxStreamOffset } = this.#host.limits;
    if (frameBytes < greetingFrameBytes) throw violation('a welcome with a frame limit below that of a hello');
    if (!this.#mayUse(value.compression)) throw violation('a welcome with a compression that was not offered');
    if (value.compression !== undefined) this.#host.streams.host.allowDeflate();
    this.#host.streams.host.peerLimits = { frameBytes, windowBytes: Math.min(windowBytes, maxStreamOffset), streams };
    this.#host.onReady();
    this.greeting.resolve(value);
  }
}

/** Whether a control message belongs to the greeting. */
function greets(kind: ControlKind): boolean {
  return kind.code === hello.code || kind.code === welcome.code;
}
