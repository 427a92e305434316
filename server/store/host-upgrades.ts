/** Table `host_upgrades`: the release that each host was last wished to run, and what became of that. */
import type { Selectable } from 'kysely';
import type { HostUpgradesTable } from './schema.ts';
import type { Db } from './tables.ts';

/** `wished`: its agent has not been told yet; `offered`: it has; the others are what the agent says of it. */
export type HostUpgradeState =
  | 'wished'
  | 'offered'
  | 'downloading'
  | 'verifying'
  | 'trying'
  | 'restarting'
  | 'done'
  | 'failed'
  | 'refused';

/** Times are ms since 1970. */
export interface HostUpgradeRow {
  readonly hostId: string;
  readonly sequence: number;
  readonly from: string;
  readonly to: string;
  readonly state: HostUpgradeState;
  /** Why it failed or was refused. */
  readonly code: string | undefined;
  readonly detail: string | undefined;
  /** The rollout that wishes it. */
  readonly rolloutId: string | undefined;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly offeredAt: number | undefined;
  readonly changedAt: number;
  readonly endedAt: number | undefined;
}

export interface HostUpgradeRows {
  /** In the place of what there was of the host. */
  put(row: HostUpgradeRow): Promise<void>;
  find(hostId: string): Promise<HostUpgradeRow | undefined>;
  /** Those that have not ended. */
  active(): Promise<HostUpgradeRow[]>;
  delete(hostId: string): Promise<void>;
}

export function hostUpgradesTable(db: Db): HostUpgradeRows {
  return {
    async put(row) {
      const values = fromRow(row);
      await db
        .insertInto('host_upgrades')
        .values(values)
        .onConflict((conflict) => conflict.column('host_id').doUpdateSet(values))
        .execute();
    },

    async find(hostId) {
      const row = await db.selectFrom('host_upgrades').selectAll().where('host_id', '=', hostId).executeTakeFirst();
      return row && toRow(row);
    },

    async active() {
      const rows = await db.selectFrom('host_upgrades').selectAll().where('ended_at', 'is', null).execute();
      return rows.map(toRow);
    },

    async delete(hostId) {
      await db.deleteFrom('host_upgrades').where('host_id', '=', hostId).execute();
    },
  };
}

function fromRow(row: HostUpgradeRow): HostUpgradesTable {
  return {
    host_id: row.hostId,
    sequence: row.sequence,
    from_version: row.from,
    to_version: row.to,
    state: row.state,
    code: row.code ?? null,
    detail: row.detail ?? null,
    rollout_id: row.rolloutId ?? null,
    created_by: row.createdBy,
    created_at: row.createdAt,
    offered_at: row.offeredAt ?? null,
    changed_at: row.changedAt,
    ended_at: row.endedAt ?? null,
  };
}

function toRow(row: Selectable<HostUpgradesTable>): HostUpgradeRow {
  return {
    hostId: row.host_id,
    sequence: row.sequence,
    from: row.from_version,
    to: row.to_version,
    state: row.state as HostUpgradeState,
    code: row.code ?? undefined,
    detail: row.detail ?? undefined,
    rolloutId: row.rollout_id ?? undefined,
    createdBy: row.created_by,
    createdAt: row.created_at,
    offeredAt: row.offered_at ?? undefined,
    changedAt: row.changed_at,
    endedAt: row.ended_at ?? undefined,
  };
}
