/** Volumes that are carried from host to host, and how far each has come. */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('volume_transfers')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('from_host', 'text', (c) => c.notNull())
    .addColumn('from_volume', 'text', (c) => c.notNull())
    .addColumn('to_host', 'text', (c) => c.notNull())
    .addColumn('to_volume', 'text', (c) => c.notNull())
    .addColumn('replaces', 'integer', (c) => c.notNull())
    .addColumn('forced', 'integer', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('bytes', 'bigint', (c) => c.notNull())
    .addColumn('total', 'bigint')
    .addColumn('carried', 'bigint', (c) => c.notNull())
    .addColumn('resumes', 'integer', (c) => c.notNull())
    .addColumn('restarts', 'integer', (c) => c.notNull())
    .addColumn('note', 'text')
    .addColumn('code', 'text')
    .addColumn('detail', 'text')
    .addColumn('created_by', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('progress_at', 'bigint', (c) => c.notNull())
    .addColumn('ended_at', 'bigint')
    .execute();
  await db.schema
    .createIndex('volume_transfers_created')
    .on('volume_transfers')
    .columns(['created_at', 'id'])
    .execute();
  await db.schema.createIndex('volume_transfers_ended').on('volume_transfers').column('ended_at').execute();
}
