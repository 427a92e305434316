/** Brings the store's schema to this version: numbered steps, forward only, each in its own transaction. */
import type { Kysely } from 'kysely';
import { FairleadError } from '../../shared/errors.ts';
import { up as first } from './migrations/0001-first.ts';
import { up as auditChain } from './migrations/0002-audit-chain.ts';
import { up as renewal } from './migrations/0003-renewal.ts';
import { up as tokenScopes } from './migrations/0004-token-scopes.ts';
import { up as logins } from './migrations/0005-logins.ts';
import { up as trust } from './migrations/0006-trust.ts';
import { up as stacks } from './migrations/0007-stacks.ts';
import { up as volumeTransfers } from './migrations/0008-volume-transfers.ts';
import { up as events } from './migrations/0009-events.ts';
import { up as metrics } from './migrations/0010-metrics.ts';
import { up as hawserTokens } from './migrations/0011-hawser-tokens.ts';
import { up as stackMigrations } from './migrations/0012-stack-migrations.ts';
import { up as adoption } from './migrations/0013-adoption.ts';
import { up as migratedServices } from './migrations/0014-migrated-services.ts';
import { up as hawserStandard } from './migrations/0015-hawser-standard.ts';
import { up as agentReleases } from './migrations/0016-agent-releases.ts';

export type Migration = (db: Kysely<unknown>) => Promise<void>;

/** Step n stands at index n - 1. Steps are only ever added. */
export const MIGRATIONS: readonly Migration[] = [
  first,
  auditChain,
  renewal,
  tokenScopes,
  logins,
  trust,
  stacks,
  volumeTransfers,
  events,
  metrics,
  hawserTokens,
  stackMigrations,
  adoption,
  migratedServices,
  hawserStandard,
  agentReleases,
];

/** The schema version that this build reads and writes. */
export const SCHEMA_VERSION = MIGRATIONS.length;

interface VersionSchema {
  schema_version: { version: number };
}

/** @throws FairleadError CONFLICT if a newer version of Fairlead has already changed the schema. */
export async function migrate<T>(db: Kysely<T>, migrations: readonly Migration[] = MIGRATIONS): Promise<void> {
  const versions = db as unknown as Kysely<VersionSchema>;
  await versions.schema
    .createTable('schema_version')
    .ifNotExists()
    .addColumn('version', 'integer', (c) => c.primaryKey())
    .execute();
  const row = await versions
    .selectFrom('schema_version')
    .select((e) => e.fn.max('version').as('version'))
    .executeTakeFirst();
  const current = row?.version ?? 0;
  if (current > migrations.length) {
    throw new FairleadError(
      'CONFLICT',
      `the store has schema version ${current}, made by a newer fairlead-server; this one knows up to ${migrations.length}`,
    );
  }
  for (const [index, step] of migrations.entries()) {
    const version = index + 1;
    if (version <= current) continue;
    await versions.transaction().execute(async (tx) => {
      await step(tx as unknown as Kysely<unknown>);
      await tx.insertInto('schema_version').values({ version }).execute();
    });
  }
}
