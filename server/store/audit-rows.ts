/** Table `audit`: what was done, by whom and with what result. Rows are only ever added, each bound to the one before it. */
import { CompiledQuery, type Selectable } from 'kysely';
import { type ChainFields, type ChainRow, chainHash, GENESIS_HASH } from '../../shared/audit-chain.ts';
import { placeholders } from './many-rows.ts';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import type { AuditTable } from './schema.ts';
import type { Db } from './tables.ts';

export type AuditResult = 'ok' | 'refused' | 'failed';
/** A JSON object without secrets. */
export type AuditDetail = Readonly<Record<string, unknown>>;

export interface NewAuditRow {
  /** ms since 1970. */
  readonly at: number;
  readonly actor: string;
  readonly address: string | undefined;
  readonly action: string;
  readonly target: string | undefined;
  readonly result: AuditResult;
  readonly detail: AuditDetail;
}

export interface AuditRow extends NewAuditRow {
  readonly id: number;
  readonly hash: string;
}

export interface AuditFilter {
  readonly actor?: string | undefined;
  readonly address?: string | undefined;
  /** What the action begins with. */
  readonly action?: string | undefined;
  /** Any of these, or what is inside of one: `host/container`. At most 8. */
  readonly targets?: readonly string[] | undefined;
  readonly result?: AuditResult | undefined;
  /** ms since 1970; rows at or after this time. */
  readonly since?: number | undefined;
  /** ms since 1970; rows before this time. */
  readonly until?: number | undefined;
}

export interface AuditRows {
  /** Adds rows in their order, in one piece with the row they follow. */
  append(rows: readonly NewAuditRow[]): Promise<void>;
  /** Newest first. */
  list(page: PageRequest, filter?: AuditFilter): Promise<Page<AuditRow>>;
  /** The last row. */
  head(): Promise<ChainRow | undefined>;
  /** The row with this id. */
  find(id: number): Promise<ChainRow | undefined>;
  /** Rows with ids above `after` and up to `to`, in their order, as they stand in the table. */
  read(after: number, to: number, limit: number): Promise<ChainRow[]>;
  /** Deletes the rows up to `id`. @returns how many those were */
  dropThrough(id: number): Promise<number>;
}

const COLUMNS = ['id', 'at', 'actor', 'address', 'action', 'target', 'result', 'detail', 'hash'] as const;
/** Rows of one statement, and so of one commit: each writes the last page of the table and of every index anew. */
export const MAX_INSERT_ROWS = 32;
/** Rows that one statement of a list looks at: a search must not hold up the server, however long the log is. */
const SEARCH_ROWS = 5_000;

export function auditTable(db: Db): AuditRows {
  const rows = () => db.selectFrom('audit').selectAll();
  return {
    async append(added) {
      // One connection for both steps: nothing comes between the last row and those that follow it.
      if (db.isTransaction) await append(db, added);
      else await db.connection().execute((connection) => append(connection, added));
    },

    async list(page, filter = {}) {
      const limit = pageLimit(page);
      const start = pageStart(page, 'number');
      const found = await search(db, filter, start?.[0], limit + 1);
      return toPage(found, limit, (row) => [row.id, ''], toRow);
    },

    async head() {
      return await rows().orderBy('id', 'desc').limit(1).executeTakeFirst();
    },

    async find(id) {
      return await rows().where('id', '=', id).executeTakeFirst();
    },

    async read(after, to, limit) {
      return await rows().where('id', '>', after).where('id', '<=', to).orderBy('id').limit(limit).execute();
    },

    async dropThrough(id) {
      const { numDeletedRows } = await db.deleteFrom('audit').where('id', '<=', id).executeTakeFirst();
      return Number(numDeletedRows);
    },
  };
}

async function append(db: Db, added: readonly NewAuditRow[]): Promise<void> {
  const head = await db.selectFrom('audit').select(['id', 'hash']).orderBy('id', 'desc').limit(1).executeTakeFirst();
  let { id, hash } = head ?? { id: 0, hash: GENESIS_HASH };
  const chained = added.map((row) => {
    id += 1;
    const values = toValues(id, row);
    hash = chainHash(hash, values);
    return { ...values, hash };
  });
  for (let at = 0; at < chained.length; at += MAX_INSERT_ROWS) {
    const rows = chained.slice(at, at + MAX_INSERT_ROWS);
    const values = rows.flatMap((row) => COLUMNS.map((column) => row[column]));
    const sql = `insert into audit (${COLUMNS.join(', ')}) values ${placeholders(rows.length, COLUMNS.length)}`;
    await db.executeQuery(CompiledQuery.raw(sql, values));
  }
}

function toValues(id: number, row: NewAuditRow): ChainFields {
  return {
    id,
    at: row.at,
    actor: row.actor,
    address: row.address ?? null,
    action: row.action,
    target: row.target ?? null,
    result: row.result,
    detail: JSON.stringify(row.detail),
  };
}

/** The newest rows below `before` that fit, found in steps of bounded work. */
async function search(
  db: Db,
  filter: AuditFilter,
  before: number | undefined,
  limit: number,
): Promise<Selectable<AuditTable>[]> {
  const bounds = await db
    .selectFrom('audit')
    .select((e) => [e.fn.min('id').as('first'), e.fn.max('id').as('last')])
    .executeTakeFirst();
  const first = bounds?.first ?? 0;
  const last = bounds?.last ?? 0;
  const found: Selectable<AuditTable>[] = [];
  for (let end = Math.min(before ?? last + 1, last + 1); end > first && found.length < limit; end -= SEARCH_ROWS) {
    const step = await matching(db, filter)
      .where('id', '<', end)
      .where('id', '>=', end - SEARCH_ROWS)
      .orderBy('id', 'desc')
      .limit(limit - found.length)
      .execute();
    found.push(...step);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return found;
}

function matching(db: Db, { actor, address, action, targets, result, since, until }: AuditFilter) {
  let query = db.selectFrom('audit').selectAll();
  if (actor !== undefined) query = query.where('actor', '=', actor);
  if (address !== undefined) query = query.where('address', '=', address);
  if (action !== undefined) query = query.where('action', '>=', action).where('action', '<', afterAll(action));
  if (targets !== undefined) {
    query = query.where((e) =>
      e.or(
        targets.flatMap((target) => [
          e('target', '=', target),
          e.and([e('target', '>=', `${target}/`), e('target', '<', afterAll(`${target}/`))]),
        ]),
      ),
    );
  }
  if (result !== undefined) query = query.where('result', '=', result);
  if (since !== undefined) query = query.where('at', '>=', since);
  if (until !== undefined) query = query.where('at', '<', until);
  return query;
}

/** Behind every text that begins with `prefix`. */
function afterAll(prefix: string): string {
  return `${prefix}\u{10ffff}`;
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
    detail: detailOf(row.detail),
    hash: row.hash,
  };
}

/** A list shows a row that somebody has spoiled, too; that it is spoiled is for the check to say. */
function detailOf(text: string): AuditDetail {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as AuditDetail;
  } catch {
    // no JSON: shown below as the text it is
  }
  return { unreadable: text };
}
