/** How much of each sort of frame the peer may send, and how many streams this end may open. */
import type { Clock } from '../clock.ts';
import { FairleadError } from '../errors.ts';
import { Budget } from './budget.ts';
import type { SessionLimits } from './session-limits.ts';

/** Seconds' worth that may arrive at once: what a stalled network holds back comes in one burst. */
const BURST_SECONDS = 10;
/** Control frames that each body frame or OPEN of ours allows the peer on top: windows, acks and ENDs answer those. */
const CONTROL_PER_FRAME = 2;

/** Codes with which a session refuses a stream before anyone has worked for it. */
const REFUSALS: ReadonlySet<string> = new Set(['OVERLOADED', 'MESSAGE_INVALID', 'SHUTDOWN']);

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
  #bodyFramesOut = 0;

  constructor(clock: Clock, limits: SessionLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  #make(perSecond: number, seconds: number): Budget {
    return new Budget(perSecond, perSecond * seconds, this.#clock.monotonic());
  }

  /** The peer opens a stream. @throws FairleadError PROTOCOL_ERROR */
  countOpen(): void {
    this.#opens ??= this.#make(this.#limits.opensPerSecond, BURST_SECONDS);
    if (!this.#opens.take(this.#clock.monotonic())) throw flood('streams opened in vain');
  }

  /** The peer resets a stream that it opened itself, or one that is closed. @throws FairleadError PROTOCOL_ERROR */
  countReset(): void {
    this.#resets ??= this.#make(this.#limits.resetsPerSecond, BURST_SECONDS);
    if (!this.#resets.take(this.#clock.monotonic())) throw flood('resets');
  }

  /**
   * The peer sends a frame that needs no credit.
   * @param bodyFramesOut body frames and OPENs that this end has sent so far
   * @throws FairleadError PROTOCOL_ERROR
   */
  countControl(bodyFramesOut: number): void {
    this.#control ??= this.#make(this.#limits.controlFramesPerSecond, 1);
    this.#control.give(CONTROL_PER_FRAME * (bodyFramesOut - this.#bodyFramesOut));
    this.#bodyFramesOut = bodyFramesOut;
    if (!this.#control.take(this.#clock.monotonic())) throw flood('control frames');
  }

  /** The peer sends a message on the control stream, which each end decodes and may answer. @throws FairleadError PROTOCOL_ERROR */
  countMessage(): void {
    this.#messages ??= this.#make(this.#limits.controlMessagesPerSecond, BURST_SECONDS);
    if (!this.#messages.take(this.#clock.monotonic())) throw flood('control messages');
  }

  /** This end opens a stream, at the rate that the peer allows without its burst. @returns false if it is too early */
  takeOwnOpen(): boolean {
    this.#ownOpens ??= this.#make(this.#limits.opensPerSecond, 1);
    return this.#ownOpens.take(this.#clock.monotonic());
  }

  /** A stream was real work. */
  refundOpen(opener: 'self' | 'peer'): void {
    if (opener === 'self') this.#ownOpens?.give(1);
    else this.#opens?.give(1);
  }
}

function flood(what: string): FairleadError {
  return new FairleadError('PROTOCOL_ERROR', `the peer floods the session with ${what}`);
}
