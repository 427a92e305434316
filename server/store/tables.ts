/** What the repositories share. */
import { type Kysely, sql } from 'kysely';
import type { Revocation } from './revocation-journal.ts';
import type { Schema } from './schema.ts';

/** The store, or one transaction on it. */
export type Db = Kysely<Schema>;

/** Notes what a statement has revoked; what is not in a transaction is in the journal once it resolves. */
export type Note = (...revocations: Revocation[]) => Promise<void>;

/** A JSON array of strings, as it stands in a column. */
export function readStrings(text: string): string[] {
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : [];
}

/** Numbers by name, out of a column of JSON; what is none is left out. */
export function readCounts(text: string): Record<string, number> {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).filter(([, count]) => typeof count === 'number'));
}

/** Forgets of what has ended all but the `keep` that ended last. */
export async function forgetEnded(db: Db, table: 'rollouts' | 'volume_transfers', keep: number): Promise<void> {
  const rows = sql.table(table);
  await sql`delete from ${rows} where ended_at is not null and id not in (
    select id from ${rows} where ended_at is not null order by ended_at desc, id desc limit ${keep})`.execute(db);
}
