/** What was deployed as a stack, by revision: its Compose file, and its environment sealed. */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('stack_revisions')
    .addColumn('host_id', 'text', (c) => c.notNull().references('hosts.id').onDelete('cascade'))
    .addColumn('stack', 'text', (c) => c.notNull())
    .addColumn('number', 'integer', (c) => c.notNull())
    .addColumn('id', 'text', (c) => c.notNull().unique())
    .addColumn('action', 'text', (c) => c.notNull())
    .addColumn('source', 'integer')
    .addColumn('compose', 'text', (c) => c.notNull())
    .addColumn('env', 'text')
    .addColumn('env_names', 'text', (c) => c.notNull())
    .addColumn('size', 'integer', (c) => c.notNull())
    .addColumn('created_by', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('finished_at', 'bigint')
    .addColumn('code', 'text')
    .addColumn('detail', 'text')
    .addPrimaryKeyConstraint('stack_revisions_key', ['host_id', 'stack', 'number'])
    .execute();
  await db.schema.createIndex('stack_revisions_state').on('stack_revisions').column('state').execute();
}
