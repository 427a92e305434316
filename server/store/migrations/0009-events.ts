/** Events of hosts, how far each of their sources was taken, and the webhooks that get them. */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('events')
    .addColumn('id', 'integer', (c) => c.primaryKey())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addColumn('time_micros', 'bigint', (c) => c.notNull())
    .addColumn('host_id', 'text')
    .addColumn('host', 'text')
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('action', 'text')
    .addColumn('subject', 'text')
    .addColumn('attributes', 'text', (c) => c.notNull())
    .execute();
  await db.schema.createIndex('events_host').on('events').columns(['host_id', 'id']).execute();
  await db.schema
    .createTable('event_sources')
    .addColumn('source', 'text', (c) => c.primaryKey())
    .addColumn('position', 'text', (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('webhooks')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('name', 'text')
    .addColumn('target', 'text', (c) => c.notNull())
    .addColumn('filter', 'text', (c) => c.notNull())
    .addColumn('created_by', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('position', 'bigint', (c) => c.notNull())
    .addColumn('delivered_at', 'bigint')
    .addColumn('failing_since', 'bigint')
    .addColumn('failures', 'bigint', (c) => c.notNull())
    .addColumn('error', 'text')
    .execute();
}
