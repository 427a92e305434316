/** What the kinds of a Hawser host are served over, whichever side has dialled the other. */
import type { Clock } from '../../shared/clock.ts';
import type { ErrorCode, FairleadError } from '../../shared/errors.ts';
import type { OpenOptions } from '../hosts/host-link.ts';
import type { Answer, AskOptions, HawserCall } from './ask.ts';
import type { HeldBytes } from './held-bytes.ts';
import type { WholeAnswers } from './whole-answers.ts';

export interface HawserTransport {
  readonly clock: Clock;
  /** Resolves once the agent cannot be reached this way any more, with the cause. */
  readonly closed: Promise<FairleadError>;
  /** When the agent was last heard of; ms since 1970. */
  readonly lastSeenAt: number;
  /** Whether an agent that is asked to may send data before an answer, which `AskOptions.onData` gets then. */
  readonly streamsOutput?: true;
  /** Bounds answers that came whole and are not read yet. */
  readonly wholes: WholeAnswers;
  /**
   * Docker's whole answer, whatever its status.
   * @throws FairleadError TIMEOUT, DOCKER_UNREACHABLE, STREAM_INTERRUPTED, OVERLOADED, PAYLOAD_TOO_LARGE, the reason of `signal`
   */
  ask(call: HawserCall, options?: AskOptions): Promise<Answer>;
  /**
   * The bytes of a streamed answer. They may have no status: then what Docker refuses comes as bytes, too. Destroyed by whoever
   * loses interest; the agent is told then.
   * @throws FairleadError HOST_OFFLINE, OVERLOADED
   */
  stream(call: HawserCall): HeldBytes;
  /** Hawser's own exec, of one word and with a terminal. @throws FairleadError CONTAINER_NOT_FOUND, CONFLICT, TIMEOUT, OVERLOADED, … */
  openTerminal(start: ExecStart, options: OpenOptions): Promise<Terminal>;
  /** The round trip to the agent, in ms. @throws FairleadError STREAM_INTERRUPTED, OVERLOADED */
  ping(): Promise<number>;
  /** Ends all that is in progress; the agent is told why where it can be. Idempotent. */
  close(code: ErrorCode, reason: string): void;
}

export interface ExecStart {
  readonly containerId: string;
  readonly cmd: string;
  readonly user: string;
  readonly cols: number;
  readonly rows: number;
}

/** An exec as the agent serves it: its bytes, and whether they have ended. */
export interface Terminal {
  readonly id: string;
  /** Out of the terminal, and what is typed into it. */
  readonly bytes: HeldBytes;
  /** Resolves once the output has ended by itself; rejects when the exec was left or cut off. */
  readonly ended: Promise<void>;
  /** @throws FairleadError OVERLOADED */
  resize(size: { readonly cols: number; readonly rows: number }): void;
}
