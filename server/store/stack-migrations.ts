/** Table `stack_migrations`: stacks that are being carried from host to host, until each has ended; then the audit log has it. */
import type { Selectable } from 'kysely';
import type { StackMigrationsTable } from './schema.ts';
import type { StackKey } from './stack-revisions.ts';
import { type Db, readCounts, readStrings } from './tables.ts';

/** The steps that change something, in their order. Before `remove` a migration is rolled back, from then on it is finished. */
export type MigrationStep = 'stop' | 'images' | 'volumes' | 'deploy' | 'verify' | 'remove';

/** What changes as a migration goes on. */
export interface MigrationProgress {
  readonly step: MigrationStep;
  /** Names of the volumes that were made at the target. */
  readonly volumes: readonly string[];
}

export interface StackMigrationRow extends MigrationProgress {
  readonly id: string;
  readonly from: StackKey;
  readonly to: StackKey;
  /** The source stays, stopped. */
  readonly keeps: boolean;
  /** Whether anything of it ran at the source. */
  readonly ran: boolean;
  /** How many containers each service had that ran. */
  readonly services: Readonly<Record<string, number>>;
  readonly createdBy: string;
  /** ms since 1970. */
  readonly createdAt: number;
}

export interface StackMigrationRows {
  insert(row: StackMigrationRow): Promise<void>;
  /** Oldest first. */
  all(): Promise<StackMigrationRow[]>;
  update(id: string, progress: MigrationProgress): Promise<void>;
  delete(id: string): Promise<void>;
}

export function stackMigrationsTable(db: Db): StackMigrationRows {
  return {
    async insert(row) {
      await db.insertInto('stack_migrations').values(fromRow(row)).execute();
    },

    async all() {
      const rows = await db.selectFrom('stack_migrations').selectAll().orderBy('created_at').orderBy('id').execute();
      return rows.map(toRow);
    },

    async update(id, progress) {
      await db.updateTable('stack_migrations').set(fromProgress(progress)).where('id', '=', id).execute();
    },

    async delete(id) {
      await db.deleteFrom('stack_migrations').where('id', '=', id).execute();
    },
  };
}

function fromProgress({ step, volumes }: MigrationProgress) {
  return { step, volumes: JSON.stringify(volumes) };
}

function fromRow(row: StackMigrationRow): StackMigrationsTable {
  return {
    id: row.id,
    from_host: row.from.hostId,
    from_stack: row.from.stack,
    to_host: row.to.hostId,
    to_stack: row.to.stack,
    keeps: row.keeps ? 1 : 0,
    ran: row.ran ? 1 : 0,
    services: JSON.stringify(row.services),
    created_by: row.createdBy,
    created_at: row.createdAt,
    ...fromProgress(row),
  };
}

function toRow(row: Selectable<StackMigrationsTable>): StackMigrationRow {
  return {
    id: row.id,
    from: { hostId: row.from_host, stack: row.from_stack },
    to: { hostId: row.to_host, stack: row.to_stack },
    keeps: row.keeps === 1,
    ran: row.ran === 1,
    services: readCounts(row.services),
    step: row.step as MigrationStep,
    volumes: readStrings(row.volumes),
    createdBy: row.created_by,
    createdAt: row.created_at,
  };
}
