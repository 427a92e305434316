/** Edge mode: all that a host is asked goes over the one WebSocket that its agent has opened. */
import type { Clock } from '../../shared/clock.ts';
import type { ErrorCode, FairleadError } from '../../shared/errors.ts';
import type { OpenOptions } from '../hosts/host-link.ts';
import { type Answer, type AskOptions, ask, type HawserCall, stream } from './ask.ts';
import { EdgeTerminal } from './edge-terminal.ts';
import type { HeldBytes } from './held-bytes.ts';
import type { HawserSession } from './session.ts';
import type { ExecStart, HawserTransport, Terminal } from './transport.ts';
import type { WholeAnswers } from './whole-answers.ts';

export class EdgeTransport implements HawserTransport {
  readonly clock: Clock;
  readonly closed: Promise<FairleadError>;
  readonly wholes: WholeAnswers;
  readonly streamsOutput = true;
  readonly #session: HawserSession;

  constructor(session: HawserSession) {
    this.#session = session;
    this.clock = session.clock;
    this.closed = session.closed;
    this.wholes = session.gate.wholes;
  }

  get lastSeenAt(): number {
    return this.#session.lastSeenAt;
  }

  async ask(call: HawserCall, options?: AskOptions): Promise<Answer> {
    return await ask(this.#session, call, options);
  }

  stream(call: HawserCall): HeldBytes {
    return stream(this.#session, call);
  }

  async openTerminal(start: ExecStart, options: OpenOptions): Promise<Terminal> {
    const terminal = new EdgeTerminal(this.#session);
    await terminal.start(start, options);
    return terminal;
  }

  async ping(): Promise<number> {
    return await this.#session.ping();
  }

  close(code: ErrorCode, reason: string): void {
    this.#session.close(code, reason);
  }
}
