/** What hosts use: their samples, and what was made of those. */
import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('metric_hosts')
    // A number in the place of an id of 36 characters, which each row would have once more.
    .addColumn('ref', 'integer', (c) => c.primaryKey().autoIncrement())
    .addColumn('host_id', 'text', (c) => c.notNull().unique())
    .addColumn('hourly_to', 'bigint', (c) => c.notNull())
    .execute();
  await db.schema.createIndex('metric_hosts_hourly').on('metric_hosts').column('hourly_to').execute();
  await db.schema
    .createTable('host_metrics')
    .addColumn('ref', 'integer', (c) => c.notNull())
    .addColumn('step', 'integer', (c) => c.notNull())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addColumn('data', 'blob', (c) => c.notNull())
    .addPrimaryKeyConstraint('host_metrics_key', ['ref', 'step', 'at'])
    // SQLite keeps the rows in the order of the key then, in half the space; other databases do without.
    .modifyEnd(sql`without rowid`)
    .execute();
}
