/** API tokens that are limited to some hosts, that follow one another, and whose last address is known; tags to look hosts up by. */
import type { Kysely } from 'kysely';

interface Before {
  hosts: { id: string; tags: string };
  host_tags: { host_id: string; tag: string };
}

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const column of ['scope', 'last_used_address', 'replaced_by']) {
    await db.schema.alterTable('api_tokens').addColumn(column, 'text').execute();
  }
  await db.schema.createIndex('api_tokens_replaced_by').on('api_tokens').column('replaced_by').execute();
  await db.schema
    .createTable('host_tags')
    .addColumn('host_id', 'text', (c) => c.notNull())
    .addColumn('tag', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('host_tags_key', ['tag', 'host_id'])
    .execute();
  await db.schema.createIndex('host_tags_host').on('host_tags').column('host_id').execute();
  await copyTags(db as Kysely<Before>);
}

async function copyTags(db: Kysely<Before>): Promise<void> {
  for (const { id, tags } of await db.selectFrom('hosts').select(['id', 'tags']).execute()) {
    const rows = [...new Set(JSON.parse(tags) as string[])].map((tag) => ({ host_id: id, tag }));
    if (rows.length > 0) await db.insertInto('host_tags').values(rows).execute();
  }
}
