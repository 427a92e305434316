/** Lists in pages: limits, and cursors that only the store understands. */
import { type SelectQueryBuilder, type SqlBool, sql } from 'kysely';
import { FairleadError } from '../../shared/errors.ts';
import type { Schema } from './schema.ts';

const DEFAULT_PAGE_LIMIT = 100;
export const MAX_PAGE_LIMIT = 500;
/** Longer than any cursor that the store makes. */
const MAX_CURSOR_CHARS = 512;

export interface PageRequest {
  /** Items wanted, 1 to 500, 100 unless given. */
  readonly limit?: number | undefined;
  /** `nextCursor` of the page before. */
  readonly cursor?: string | undefined;
}

export interface Page<T> {
  readonly items: T[];
  /** Absent on the last page. */
  readonly nextCursor?: string;
}

/** Where a list goes on: the sort key of the last item of the page before, and its id. */
export type Position<K extends string | number> = readonly [key: K, id: string];

/** @throws FairleadError VALIDATION */
export function pageLimit({ limit = DEFAULT_PAGE_LIMIT }: PageRequest): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_PAGE_LIMIT) return limit;
  throw new FairleadError('VALIDATION', `limit is not valid: it must be a whole number from 1 to ${MAX_PAGE_LIMIT}`);
}

/**
 * The position that `request.cursor` stands for, if there is one.
 * @throws FairleadError VALIDATION if the cursor is none of this list's.
 */
export function pageStart<K extends 'string' | 'number'>(
  request: PageRequest,
  keyType: K,
): Position<K extends 'string' ? string : number> | undefined {
  const { cursor } = request;
  if (cursor === undefined) return undefined;
  const value = decode(cursor);
  const fits =
    Array.isArray(value) &&
    value.length === 2 &&
    typeof value[0] === keyType &&
    (keyType === 'string' || Number.isSafeInteger(value[0])) &&
    typeof value[1] === 'string';
  if (!fits) throw new FairleadError('VALIDATION', 'cursor is not valid: use the nextCursor of the page before');
  return value as unknown as Position<K extends 'string' ? string : number>;
}

/**
 * A page of a list with the newest first.
 * @param query the rows of the whole list, in no order yet
 * @throws FairleadError VALIDATION if the request is not valid
 */
export async function newestFirst<TB extends keyof Schema, R extends object, T>(
  query: SelectQueryBuilder<Schema, TB, R>,
  request: PageRequest,
  item: (row: R) => T,
  timeColumn = 'created_at',
  idColumn = 'id',
): Promise<Page<T>> {
  const limit = pageLimit(request);
  const start = pageStart(request, 'number');
  const [time, id] = [sql.ref(timeColumn), sql.ref(idColumn)];
  const behind = start === undefined ? query : query.where(sql<SqlBool>`(${time}, ${id}) < (${start[0]}, ${start[1]})`);
  const rows = await behind
    .orderBy(time, 'desc')
    .orderBy(id, 'desc')
    .limit(limit + 1)
    .execute();
  const position = (row: R) => {
    const columns = row as Record<string, unknown>;
    return [columns[timeColumn], columns[idColumn]] as [number, string];
  };
  return toPage(rows as R[], limit, position, item);
}

/** The page made of `rows`, which were read with a limit of one more than asked for. */
export function toPage<R, T>(
  rows: readonly R[],
  limit: number,
  position: (row: R) => Position<string | number>,
  item: (row: R) => T,
): Page<T> {
  const shown = rows.slice(0, limit);
  const items = shown.map(item);
  const last = shown.at(-1);
  if (rows.length <= limit || last === undefined) return { items };
  return { items, nextCursor: Buffer.from(JSON.stringify(position(last))).toString('base64url') };
}

function decode(cursor: string): unknown {
  if (cursor.length > MAX_CURSOR_CHARS) return undefined;
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    // Whatever it is, it is not a cursor: the caller says so.
    return undefined;
  }
}
