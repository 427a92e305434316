/** Who was refused at the agents' port, in the audit log: bounded, since an agent in a restart loop comes back for ever. */
import type { Clock } from '../../shared/clock.ts';
import type { FairleadError } from '../../shared/errors.ts';
import { Budget } from '../../shared/mux/budget.ts';
import type { Audit } from '../audit/audit.ts';
import { keepRecent } from '../keep-recent.ts';
import { Tally } from '../tally.ts';

/** Rows of one host, or of one address where no host is known: the first ones, then one in ten minutes. */
const ROWS_PER_SECOND = 1 / 600;
const ROW_BURST = 3;
/** Rows of all together. */
const ALL_ROWS_PER_SECOND = 0.5;
const ALL_ROWS_BURST = 120;
/** Hosts and addresses that are told apart: those that were refused last. */
const MAX_SEEN = 20_000;
const ACTION = 'host.connect';

/** A connection that its certificate was no good for. */
export interface AgentRefusal {
  readonly error: Pick<FairleadError, 'code' | 'message'>;
  /** The network address; empty if the connection has gone already. */
  readonly address: string;
  /** By the certificate, if it is one of an agent of this installation. */
  readonly hostId?: string | undefined;
  readonly serial?: string | undefined;
}

export interface AgentRefusalDeps {
  readonly audit: Pick<Audit, 'recordOrLog'>;
  readonly clock: Clock;
  /** The host's name. @throws FairleadError if there is none (any more) */
  hostName(hostId: string): Promise<string>;
}

interface Seen {
  readonly budget: Budget;
  unreported: number;
}

export class AgentRefusals {
  readonly #deps: AgentRefusalDeps;
  readonly #seen = new Map<string, Seen>();
  readonly #all: Budget;
  readonly #left: Tally;

  constructor(deps: AgentRefusalDeps) {
    this.#deps = deps;
    this.#all = new Budget(ALL_ROWS_PER_SECOND, ALL_ROWS_BURST, deps.clock.monotonic());
    this.#left = new Tally(deps.clock, (suppressed) =>
      deps.audit.recordOrLog({ actor: 'system', action: ACTION, result: 'refused', detail: { suppressed } }),
    );
  }

  /** Leaves a row if the limits allow it; the next one says how many had none. Returns at once and never throws. */
  report(refusal: AgentRefusal): void {
    const now = this.#deps.clock.monotonic();
    const key = refusal.hostId ?? refusal.address;
    const seen = this.#seen.get(key) ?? { budget: new Budget(ROWS_PER_SECOND, ROW_BURST, now), unreported: 0 };
    keepRecent(this.#seen, key, seen, MAX_SEEN);
    if (!seen.budget.take(now)) {
      seen.unreported += 1;
      return;
    }
    if (!this.#all.take(now)) {
      this.#left.add();
      return;
    }
    const { unreported } = seen;
    seen.unreported = 0;
    void this.#record(refusal, unreported);
  }

  /** Says how many are left without a row. Idempotent. */
  async close(): Promise<void> {
    await this.#left.flush();
  }

  async #record({ error, address, hostId, serial }: AgentRefusal, unreportedBefore: number): Promise<void> {
    // A host that was removed has no name any more, and the row not less to say.
    const name = hostId === undefined ? undefined : await this.#deps.hostName(hostId).catch(() => hostId);
    await this.#deps.audit.recordOrLog({
      actor: name === undefined ? 'anonymous' : `host:${name}`,
      address: address === '' ? undefined : address,
      action: ACTION,
      target: hostId,
      result: 'refused',
      detail: { code: error.code, reason: error.message, serial, unreportedBefore },
    });
  }
}
