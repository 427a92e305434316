/** Enrollment tokens by which the agent of Fairlead takes over a host that is there already. */
import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('enrollment_tokens').addColumn('adopts', 'text').execute();
  await db.schema.createIndex('enrollment_tokens_adopts').on('enrollment_tokens').column('adopts').execute();
}
