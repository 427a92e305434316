/** How large the store is, and how much of that is unused. */
import { stat } from 'node:fs/promises';
import { type Kysely, sql } from 'kysely';

export interface StoreFigures {
  /** Of the database and its write-ahead log. */
  readonly bytes: number;
  /** Of the database, in pages that later rows will use. */
  readonly freeBytes: number;
}

/** @param file the database */
export async function storeFigures<S>(db: Kysely<S>, file: string): Promise<StoreFigures> {
  const pragma = async (name: string): Promise<number> => {
    const { rows } = await sql<Record<string, number>>`pragma ${sql.raw(name)}`.execute(db);
    return Object.values(rows[0] ?? {})[0] ?? 0;
  };
  const [pages, free, pageBytes] = [
    await pragma('page_count'),
    await pragma('freelist_count'),
    await pragma('page_size'),
  ];
  const log = await stat(`${file}-wal`).catch(() => ({ size: 0 }));
  return { bytes: pages * pageBytes + log.size, freeBytes: free * pageBytes };
}
