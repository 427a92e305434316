/** The audit log becomes a chain of hashes; what is signed of it and how far each receiver has it gets tables. */
import { type Kysely, sql } from 'kysely';
import { chainHash, GENESIS_HASH } from '../../../shared/audit-chain.ts';
import type { Schema } from '../schema.ts';

const PAGE_ROWS = 500;

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('audit')
    .addColumn('hash', 'text', (c) => c.notNull().defaultTo(sql.lit('')))
    .execute();
  await chainRows(db as unknown as Kysely<Schema>);
  await createCheckpoints(db);
  await createSinks(db);
}

/** Rows that were written before there was a chain are taken as they stand. */
async function chainRows(db: Kysely<Schema>): Promise<void> {
  let previous = GENESIS_HASH;
  let after = 0;
  for (;;) {
    const rows = await db
      .selectFrom('audit')
      .selectAll()
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE_ROWS)
      .execute();
    for (const row of rows) {
      previous = chainHash(previous, row);
      await db.updateTable('audit').set({ hash: previous }).where('id', '=', row.id).execute();
      after = row.id;
    }
    if (rows.length < PAGE_ROWS) return;
  }
}

async function createCheckpoints(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('audit_checkpoints')
    .addColumn('seq', 'integer', (c) => c.primaryKey().autoIncrement())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('row_id', 'bigint', (c) => c.notNull())
    .addColumn('row_hash', 'text', (c) => c.notNull())
    .addColumn('count', 'bigint', (c) => c.notNull())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .addColumn('signer', 'text', (c) => c.notNull())
    .addColumn('signature', 'text', (c) => c.notNull())
    .execute();
  await db.schema.createIndex('audit_checkpoints_row').on('audit_checkpoints').column('row_id').execute();
}

async function createSinks(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('audit_sinks')
    .addColumn('sink', 'text', (c) => c.primaryKey())
    .addColumn('row_id', 'bigint', (c) => c.notNull())
    .addColumn('at', 'bigint', (c) => c.notNull())
    .execute();
}
