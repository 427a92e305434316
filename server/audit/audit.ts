/**
 * The audit log: who did what, from where, to what, with what result.
 *
 * A change and its row stand or fall together: `record` inside the change's transaction makes an audit log that cannot
 * be written an error of the change, so that nothing is done unseen. Where there is nothing left to undo (a refusal,
 * a failure, an emergency stop) `recordOrLog` writes the row to the program's log instead, as an error.
 *
 * Every row carries a hash that binds it to the one before it; rows that belong to no transaction are written together.
 */
import type { BaseLogger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { RowQueue } from '../row-queue.ts';
import type { Tables } from '../store/all-tables.ts';
import {
  type AuditDetail,
  type AuditFilter,
  type AuditResult,
  type AuditRow,
  MAX_INSERT_ROWS,
  type NewAuditRow,
} from '../store/audit-rows.ts';
import type { Page, PageRequest } from '../store/page.ts';
import { isInsideTransaction } from '../store/sqlite.ts';
import type { Store } from '../store/store.ts';
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
  readonly store: Pick<Store, 'audit' | 'synced'>;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error'>;
  /** Rows outside of transactions are written at most this often, in ms; each as soon as it can be unless given. */
  readonly writeIntervalMs?: number;
}

export class Audit {
  readonly #deps: AuditDeps;
  readonly #queue: RowQueue<NewAuditRow>;
  readonly #listeners = new Set<(rows: number) => void>();

  constructor(deps: AuditDeps) {
    this.#deps = deps;
    const { store, clock, writeIntervalMs: intervalMs = 0 } = deps;
    this.#queue = new RowQueue({
      ...{ name: 'the audit log', clock, intervalMs, maxRows: MAX_INSERT_ROWS },
      write: async (rows) => {
        await store.audit.append(rows);
        this.#tell(rows.length);
      },
      settle: () => store.synced(),
    });
  }

  /** Rows that wait to be written. */
  get queuedRows(): number {
    return this.#queue.size;
  }

  /** Calls `listener` when rows were added; those of a transaction may still be taken back. @returns what ends that */
  onRows(listener: (rows: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Adds a row, without the secrets that `entry` may hold by mistake. By itself it is on the disk afterwards.
   * @param tables those of the transaction that the row belongs to; a row by itself if absent
   * @throws FairleadError STORE_FULL, STORE_UNAVAILABLE, OVERLOADED
   */
  async record(entry: AuditEntry, tables?: Pick<Tables, 'audit'>): Promise<void> {
    await this.#add(this.#row(entry), tables);
  }

  /** Adds a row; if that fails, writes it to the log as an error and goes on. Never throws. */
  async recordOrLog(entry: AuditEntry): Promise<void> {
    const row = this.#row(entry);
    try {
      await this.#add(row);
    } catch (error) {
      this.#deps.log.error({ err: error, audit: row }, 'the audit log cannot be written; the row stands here instead');
    }
  }

  /** Writes what waits to be written. */
  async drain(): Promise<void> {
    await this.#queue.drain();
  }

  /** Newest first. */
  async list(page: PageRequest, filter?: AuditFilter): Promise<Page<AuditRow>> {
    return await this.#deps.store.audit.list(page, filter);
  }

  async #add(row: NewAuditRow, tables?: Pick<Tables, 'audit'>): Promise<void> {
    if (tables !== undefined) {
      await tables.audit.append([row]);
      this.#tell(1);
      return;
    }
    // It would wait for the end of the transaction, which waits for it.
    if (isInsideTransaction()) throw new Error('an audit row of its own was recorded inside of a transaction');
    await this.#queue.add(row);
  }

  #tell(rows: number): void {
    for (const listener of this.#listeners) listener(rows);
  }

  #row(entry: AuditEntry): NewAuditRow {
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
