/** Table `audit`: what was done, by whom and with what result. Rows are only ever added. */
import type { Selectable } from 'kysely';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import type { AuditTable } from './schema.ts';
import type { Db } from './tables.ts';

export type AuditResult = 'ok' | 'refused' | 'failed';
/** A JSON object without secrets. */
export type AuditDetail = Readonly<Record<string, unknown>>;

export interface AuditRow {
  readonly id: number;
  /** ms since 1970. */
  readonly at: number;
  readonly actor: string;
  readonly address: string | undefined;
  readonly action: string;
  readonly target: string | undefined;
  readonly result: AuditResult;
  readonly detail: AuditDetail;
}

export interface AuditFilter {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly target?: string | undefined;
  readonly result?: AuditResult | undefined;
  /** ms since 1970; rows at or after this time. */
  readonly since?: number | undefined;
  /** ms since 1970; rows before this time. */
  readonly until?: number | undefined;
}

export interface AuditRows {
  insert(row: Omit<AuditRow, 'id'>): Promise<void>;
  /** Newest first. */
  list(page: PageRequest, filter?: AuditFilter): Promise<Page<AuditRow>>;
}

export function auditTable(db: Db): AuditRows {
  return {
    async insert({ at, actor, address, action, target, result, detail }) {
      await db
        .insertInto('audit')
        .values({
          at,
          actor,
          address: address ?? null,
          action,
          target: target ?? null,
          result,
          detail: JSON.stringify(detail),
        })
        .execute();
    },

    async list(page, { actor, action, target, result, since, until } = {}) {
      const limit = pageLimit(page);
      const start = pageStart(page, 'number');
      let query = db.selectFrom('audit').selectAll();
      if (actor !== undefined) query = query.where('actor', '=', actor);
      if (action !== undefined) query = query.where('action', '=', action);
      if (target !== undefined) query = query.where('target', '=', target);
      if (result !== undefined) query = query.where('result', '=', result);
      if (since !== undefined) query = query.where('at', '>=', since);
      if (until !== undefined) query = query.where('at', '<', until);
      if (start !== undefined) query = query.where('id', '<', start[0]);
      const rows = await query
        .orderBy('id', 'desc')
        .limit(limit + 1)
        .execute();
      return toPage(rows, limit, (row) => [row.id, ''], toRow);
    },
  };
}

function toRow(row: Selectable<AuditTable>): AuditRow {
  return {
    id: row.id,
    at: row.at,
    actor: row.actor,
    address: row.address ?? undefined,
    action: row.action,
    target: row.target ?? undefined,
    result: row.result as AuditResult,
    detail: JSON.parse(row.detail) as AuditDetail,
  };
}
