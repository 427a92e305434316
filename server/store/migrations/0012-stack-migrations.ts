/** Stacks that are being carried from host to host, and how far each has come. */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('stack_migrations')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('from_host', 'text', (c) => c.notNull())
    .addColumn('from_stack', 'text', (c) => c.notNull())
    .addColumn('to_host', 'text', (c) => c.notNull())
    .addColumn('to_stack', 'text', (c) => c.notNull())
    .addColumn('keeps', 'integer', (c) => c.notNull())
    .addColumn('ran', 'integer', (c) => c.notNull())
    .addColumn('step', 'text', (c) => c.notNull())
    .addColumn('volumes', 'text', (c) => c.notNull())
    .addColumn('created_by', 'text', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .execute();
}
