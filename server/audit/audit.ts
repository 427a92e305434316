/**
 * The audit log: who did what, from where, to what, with what result.
 *
 * A change and its row stand or fall together: `record` inside the change's transaction makes an audit log that cannot
 * be written an error of the change, so that nothing is done unseen. Where there is nothing left to undo (a refusal,
 * a failure, an emergency stop) `recordOrLog` writes the row to the program's log instead, as an error.
 */
import type { BaseLogger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import type { AuditDetail, AuditFilter, AuditResult, AuditRow } from '../store/audit-rows.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Tables } from '../store/store.ts';
import { redactDetail, redactText } from './redact.ts';

/** Who asks for a change. */
export interface Actor {
  readonly name: string;
  readonly address?: string | undefined;
}

export interface AuditEntry {
  readonly actor: string;
  /** The network address the request came from. */
  readonly address?: string | undefined;
  /** What was done, as `host.revoke`. */
  readonly action: string;
  /** What it was done to: an id where there is one. */
  readonly target?: string | undefined;
  readonly result: AuditResult;
  readonly detail?: AuditDetail | undefined;
}

export interface AuditDeps {
  readonly store: Pick<Tables, 'audit'>;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error'>;
}

export class Audit {
  readonly #deps: AuditDeps;

  constructor(deps: AuditDeps) {
    this.#deps = deps;
  }

  /**
   * Adds a row, without the secrets that `entry` may hold by mistake.
   * @param tables those of the transaction that the row belongs to; a row by itself if absent
   * @throws FairleadError STORE_FULL, STORE_UNAVAILABLE
   */
  async record(entry: AuditEntry, tables: Pick<Tables, 'audit'> = this.#deps.store): Promise<void> {
    await tables.audit.insert(this.#row(entry));
  }

  /** Adds a row; if that fails, writes it to the log as an error and goes on. Never throws. */
  async recordOrLog(entry: AuditEntry): Promise<void> {
    const row = this.#row(entry);
    try {
      await this.#deps.store.audit.insert(row);
    } catch (error) {
      this.#deps.log.error({ err: error, audit: row }, 'the audit log cannot be written; the row stands here instead');
    }
  }

  /** Newest first. */
  async list(page: PageRequest, filter?: AuditFilter): Promise<Page<AuditRow>> {
    return await this.#deps.store.audit.list(page, filter);
  }

  #row(entry: AuditEntry): Omit<AuditRow, 'id'> {
    return {
      at: this.#deps.clock.now(),
      actor: redactText(entry.actor),
      address: entry.address === undefined ? undefined : redactText(entry.address),
      action: redactText(entry.action),
      target: entry.target === undefined ? undefined : redactText(entry.target),
      result: entry.result,
      detail: redactDetail(entry.detail ?? {}),
    };
  }
}
