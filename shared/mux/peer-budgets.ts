/** How much of each sort of frame the peer may send, and how many streams this end may open. */
import type { Clock } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import { Budget } from './budget.ts';
import type { SessionLimits } from './session-limits.ts';

/** Seconds' worth that may arrive at once: what a stalled network holds back comes in one burst. */
const BURST_SECONDS = 10;
/** Control frames that each OPEN of ours, and each so many bytes, allow the peer on top: windows, acks and ENDs answer those. */
const CONTROL_PER_UNIT = 2;
/** Bytes and not frames: a peer that grants single bytes would earn with each frame what its next grant costs. */
const CONTROL_UNIT_BYTES = 4 * 1024;
/** Each so many bytes of an OPEN's parameters count as one more: decoding them is work that nobody has to answer. */
const OPEN_UNIT_BYTES = 4 * 1024;

/** Codes with which a stream is refused before anyone has worked for it. */
const REFUSALS: ReadonlySet<string> = new Set([
  'OVERLOADED',
  'MESSAGE_INVALID',
  'SHUTDOWN',
  'UNSUPPORTED',
  'DENIED_BY_HOST',
]);

/**
 * Whether an opened stream was real work, so that it does not count against the rate of opens: it ended cleanly, or
 * its acceptor answered it with an error. What counts is what costs nothing: refused streams, and ones that their
 * opener resets.
 */
export function isPaidFor(error: FairleadError | undefined, resetByOpener: boolean): boolean {
  return error === undefined || !(resetByOpener || REFUSALS.has(error.code));
}

export class PeerBudgets {
  readonly #clock: Clock;
  readonly #limits: SessionLimits;
  /** Made when first needed: most sessions are idle. */
  #opens: Budget | undefined;
  #ownOpens: Budget | undefined;
  #resets: Budget | undefined;
  #control: Budget | undefined;
  #messages: Budget | undefined;
  /** Units of what this end has sent, as far as the peer was given control frames for them. */
  #unitsOut = 0;

  constructor(clock: Clock, limits: SessionLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  #make(perSecond: number, seconds: number): Budget {
    return new Budget(perSecond, perSecond * seconds, this.#clock.monotonic());
  }

  /** The peer opens a stream, with so many bytes of parameters. @throws FairleadError PROTOCOL_ERROR */
  countOpen(paramsBytes: number): void {
    this.#opens ??= this.#make(this.#limits.opensPerSecond, BURST_SECONDS);
    if (!this.#opens.take(this.#clock.monotonic(), openUnits(paramsBytes))) throw flood('streams opened in vain');
  }

  /** The peer resets a stream that it opened itself, or one that is closed. @throws FairleadError PROTOCOL_ERROR */
  countReset(): void {
    this.#resets ??= this.#make(this.#limits.resetsPerSecond, BURST_SECONDS);
    if (!this.#resets.take(this.#clock.monotonic())) throw flood('resets');
  }

  /**
   * The peer sends a frame that needs no credit.
   * @param opensOut OPENs that this end has sent so far
   * @param bytesOut frame bytes that this end has sent so far
   * @throws FairleadError PROTOCOL_ERROR
   */
  countControl(opensOut: number, bytesOut: number): void {
    this.#control ??= this.#make(this.#limits.controlFramesPerSecond, 1);
    const units = opensOut + Math.floor(bytesOut / CONTROL_UNIT_BYTES);
    this.#control.give(CONTROL_PER_UNIT * (units - this.#unitsOut));
    this.#unitsOut = units;
    if (!this.#control.take(this.#clock.monotonic())) throw flood('control frames');
  }

  /** The peer sends a message on the control stream, which each end decodes and may answer. @throws FairleadError PROTOCOL_ERROR */
  countMessage(): void {
    this.#messages ??= this.#make(this.#limits.controlMessagesPerSecond, BURST_SECONDS);
    if (!this.#messages.take(this.#clock.monotonic())) throw flood('control messages');
  }

  /** This end opens a stream, at the rate that the peer allows without its burst. @returns false if it is too early */
  takeOwnOpen(paramsBytes: number): boolean {
    this.#ownOpens ??= this.#make(this.#limits.opensPerSecond, 1);
    return this.#ownOpens.take(this.#clock.monotonic(), openUnits(paramsBytes));
  }

  /** A stream was real work. What its parameters counted stays counted. */
  refundOpen(opener: 'self' | 'peer'): void {
    if (opener === 'self') this.#ownOpens?.give(1);
    else this.#opens?.give(1);
  }
}

function openUnits(paramsBytes: number): number {
  return 1 + Math.floor(paramsBytes / OPEN_UNIT_BYTES);
}

function flood(what: string): FairleadError {
  return new FairleadError('PROTOCOL_ERROR', `the peer floods the session with ${what}`);
}
