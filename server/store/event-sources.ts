/** Table `event_sources`: how far each source of events was taken, in a text of its own. */
import { CompiledQuery } from 'kysely';
import { placeholders } from './many-rows.ts';
import type { Db } from './tables.ts';

/** Sources of one statement at most. */
export const MAX_SOURCE_ROWS = 32;

export interface EventSources {
  position(source: string): Promise<string | undefined>;
  /** Notes some, in one statement. */
  put(positions: readonly (readonly [source: string, position: string])[]): Promise<void>;
  delete(source: string): Promise<void>;
}

export function eventSourcesTable(db: Db): EventSources {
  return {
    async position(source) {
      const row = await db
        .selectFrom('event_sources')
        .select('position')
        .where('source', '=', source)
        .executeTakeFirst();
      return row?.position;
    },

    async put(positions) {
      if (positions.length === 0) return;
      const sql =
        `insert into event_sources (source, position) values ${placeholders(positions.length, 2)} ` +
        'on conflict (source) do update set position = excluded.position';
      await db.executeQuery(CompiledQuery.raw(sql, positions.flat()));
    },

    async delete(source) {
      await db.deleteFrom('event_sources').where('source', '=', source).execute();
    },
  };
}
