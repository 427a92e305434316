/** Table `hawser_standard`: where the agents of Hawser listen that the server dials, and, sealed, what is shown to them. */
import type { Selectable } from 'kysely';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import type { HawserStandardTable } from './schema.ts';
import type { Db } from './tables.ts';

/** Where one host's agent listens, as it is stored. */
export interface HawserStandardRow {
  readonly hostId: string;
  /** JSON: what is no secret. */
  readonly settings: string;
  /** Sealed JSON. */
  readonly secrets: string;
  readonly changedBy: string;
  /** ms since 1970. */
  readonly changedAt: number;
}

export interface HawserStandardRows {
  /** Makes a host's row, or replaces it. */
  put(row: HawserStandardRow): Promise<void>;
  find(hostId: string): Promise<HawserStandardRow | undefined>;
  all(): Promise<HawserStandardRow[]>;
  /** In the order of the hosts' ids. */
  list(page: PageRequest): Promise<Page<HawserStandardRow>>;
  count(): Promise<number>;
  /** @returns whether there was one */
  delete(hostId: string): Promise<boolean>;
}

export function hawserStandardTable(db: Db): HawserStandardRows {
  const rows = () => db.selectFrom('hawser_standard').selectAll();
  return {
    async put({ hostId, settings, secrets, changedBy, changedAt }) {
      const values = { settings, secrets, changed_by: changedBy, changed_at: changedAt };
      await db
        .insertInto('hawser_standard')
        .values({ host_id: hostId, ...values })
        .onConflict((conflict) => conflict.column('host_id').doUpdateSet(values))
        .execute();
    },

    async find(hostId) {
      const row = await rows().where('host_id', '=', hostId).executeTakeFirst();
      return row && toRow(row);
    },

    async all() {
      return (await rows().orderBy('host_id').execute()).map(toRow);
    },

    async list(page) {
      const limit = pageLimit(page);
      const start = pageStart(page, 'string');
      let query = rows()
        .orderBy('host_id')
        .limit(limit + 1);
      if (start !== undefined) query = query.where('host_id', '>', start[0]);
      return toPage(await query.execute(), limit, (row) => [row.host_id, row.host_id], toRow);
    },

    async count() {
      const row = await db
        .selectFrom('hawser_standard')
        .select((e) => e.fn.countAll<number>().as('n'))
        .executeTakeFirstOrThrow();
      return Number(row.n);
    },

    async delete(hostId) {
      const { numDeletedRows } = await db
        .deleteFrom('hawser_standard')
        .where('host_id', '=', hostId)
        .executeTakeFirst();
      return numDeletedRows > 0n;
    },
  };
}

function toRow(row: Selectable<HawserStandardTable>): HawserStandardRow {
  return {
    hostId: row.host_id,
    settings: row.settings,
    secrets: row.secrets,
    changedBy: row.changed_by,
    changedAt: row.changed_at,
  };
}
