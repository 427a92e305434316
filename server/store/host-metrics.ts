/**
 * Tables `metric_hosts` and `host_metrics`: what hosts used, in rows that only server/host-metrics reads. A host goes by a
 * number of its own here.
 */
import { CompiledQuery } from 'kysely';
import { placeholders } from './many-rows.ts';
import type { Db } from './tables.ts';

/** Times are Unix seconds, and so are steps; 0 is the step of samples as they came. */
export interface MetricRow {
  readonly ref: number;
  readonly step: number;
  /** Where the time that the row is about begins. */
  readonly at: number;
  readonly data: Uint8Array;
}

export interface MetricHost {
  readonly ref: number;
  /** Rows of an hour each are made of what is before this. */
  readonly hourlyTo: number;
}

export interface HostMetricRows {
  /**
   * The numbers of those among `hostIds` that are hosts, by id; those that have none yet get one.
   * @param hourlyTo of those: the hour that begins to be counted
   */
  refs(hostIds: readonly string[], hourlyTo: number): Promise<Map<string, number>>;
  /** Undefined for a host that has no rows. */
  host(hostId: string): Promise<MetricHost | undefined>;
  /** In the order of their times: from `from` up to `to`, which is left out, `limit` at most. */
  read(ref: number, step: number, from: number, to: number, limit: number): Promise<Pick<MetricRow, 'at' | 'data'>[]>;
  /** The rows of one step and time of several hosts. */
  readAt(refs: readonly number[], step: number, at: number): Promise<Pick<MetricRow, 'ref' | 'data'>[]>;
  /** Puts some dozens of rows in the place of those with the same key, in one statement. */
  write(rows: readonly MetricRow[]): Promise<void>;
  /** Some hosts whose rows of an hour each are not made up to `hour`. */
  hourlyDue(hour: number, limit: number): Promise<MetricHost[]>;
  setHourlyTo(ref: number, hour: number): Promise<void>;
  /** Takes back what a clock that was ahead has left behind. */
  limitHourlyTo(hour: number): Promise<void>;
  /** Numbers above `ref`, in their order. */
  after(ref: number, limit: number): Promise<number[]>;
  /** Deletes the oldest rows of one step before `at`, as far as they are about `seconds`. @returns whether there may be more */
  dropOldest(ref: number, step: number, at: number, seconds: number): Promise<boolean>;
  /** Numbers whose hosts are no more. */
  orphans(limit: number): Promise<number[]>;
  /** Forgets a number, whose rows must be gone. */
  forget(ref: number): Promise<void>;
}

const WRITE = 'insert into host_metrics (ref, step, at, data) values';
const REPLACE = 'on conflict (ref, step, at) do update set data = excluded.data';

export function hostMetricsTable(db: Db): HostMetricRows {
  return { ...numbersOf(db), ...rowsOf(db) };
}

/** Table `metric_hosts`. */
function numbersOf(db: Db): Omit<HostMetricRows, 'read' | 'readAt' | 'write' | 'dropOldest'> {
  return {
    async refs(hostIds, hourlyTo) {
      if (hostIds.length === 0) return new Map();
      await addMissing(db, hostIds, hourlyTo);
      const rows = await db
        .selectFrom('metric_hosts')
        .select(['ref', 'host_id'])
        .where('host_id', 'in', hostIds)
        .execute();
      return new Map(rows.map(({ ref, host_id }) => [host_id, ref]));
    },

    async host(hostId) {
      const row = await db
        .selectFrom('metric_hosts')
        .select(['ref', 'hourly_to'])
        .where('host_id', '=', hostId)
        .executeTakeFirst();
      return row && { ref: row.ref, hourlyTo: row.hourly_to };
    },

    async hourlyDue(hour, limit) {
      const rows = await db
        .selectFrom('metric_hosts')
        .select(['ref', 'hourly_to'])
        .where('hourly_to', '<', hour)
        .orderBy('hourly_to')
        .limit(limit)
        .execute();
      return rows.map((row) => ({ ref: row.ref, hourlyTo: row.hourly_to }));
    },

    async setHourlyTo(ref, hour) {
      await db.updateTable('metric_hosts').set({ hourly_to: hour }).where('ref', '=', ref).execute();
    },

    async limitHourlyTo(hour) {
      await db.updateTable('metric_hosts').set({ hourly_to: hour }).where('hourly_to', '>', hour).execute();
    },

    async after(ref, limit) {
      const rows = await db
        .selectFrom('metric_hosts')
        .select('ref')
        .where('ref', '>', ref)
        .orderBy('ref')
        .limit(limit)
        .execute();
      return rows.map((row) => row.ref);
    },

    async orphans(limit) {
      const rows = await db
        .selectFrom('metric_hosts')
        .select('ref')
        .where('host_id', 'not in', (e) => e.selectFrom('hosts').select('hosts.id'))
        .limit(limit)
        .execute();
      return rows.map(({ ref }) => ref);
    },

    async forget(ref) {
      await db.deleteFrom('metric_hosts').where('ref', '=', ref).execute();
    },
  };
}

/** Table `host_metrics`. */
function rowsOf(db: Db): Pick<HostMetricRows, 'read' | 'readAt' | 'write' | 'dropOldest'> {
  return {
    async read(ref, step, from, to, limit) {
      return await db
        .selectFrom('host_metrics')
        .select(['at', 'data'])
        .where('ref', '=', ref)
        .where('step', '=', step)
        .where('at', '>=', from)
        .where('at', '<', to)
        .orderBy('at')
        .limit(limit)
        .execute();
    },

    async readAt(refs, step, at) {
      if (refs.length === 0) return [];
      return await db
        .selectFrom('host_metrics')
        .select(['ref', 'data'])
        .where('ref', 'in', refs)
        .where('step', '=', step)
        .where('at', '=', at)
        .execute();
    },

    async write(rows) {
      if (rows.length === 0) return;
      const values = rows.flatMap(({ ref, step, at, data }) => [ref, step, at, data]);
      await db.executeQuery(CompiledQuery.raw(`${WRITE} ${placeholders(rows.length, 4)} ${REPLACE}`, values));
    },

    dropOldest: (ref, step, at, seconds) => dropOldest(db, ref, step, at, seconds),
  };
}

async function addMissing(db: Db, hostIds: readonly string[], hourlyTo: number): Promise<void> {
  await db
    .insertInto('metric_hosts')
    .columns(['host_id', 'hourly_to'])
    .expression((e) =>
      e
        .selectFrom('hosts')
        .select((f) => ['hosts.id', f.val(hourlyTo).as('hourly_to')])
        .where('hosts.id', 'in', hostIds)
        .where('hosts.id', 'not in', (f) => f.selectFrom('metric_hosts').select('metric_hosts.host_id')),
    )
    .execute();
}

async function dropOldest(db: Db, ref: number, step: number, at: number, seconds: number): Promise<boolean> {
  const oldest = await db
    .selectFrom('host_metrics')
    .select((e) => e.fn.min('at').as('at'))
    .where('ref', '=', ref)
    .where('step', '=', step)
    .executeTakeFirst();
  const from = oldest?.at;
  if (from === undefined || from === null || from >= at) return false;
  await db
    .deleteFrom('host_metrics')
    .where('ref', '=', ref)
    .where('step', '=', step)
    .where('at', '<', Math.min(at, from + seconds))
    .execute();
  return from + seconds < at;
}
