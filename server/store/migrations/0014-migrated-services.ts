/** What a stack that is carried to another host ran: so much of it is started again. */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // One that an earlier version has left does not say it: all of it is started then.
  await db.schema
    .alterTable('stack_migrations')
    .addColumn('services', 'text', (c) => c.notNull().defaultTo('{}'))
    .execute();
}
