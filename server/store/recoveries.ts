/** Table `recoveries`: hosts that ask for a certificate without one that counts; at most one request of each host. */
import type { Selectable } from 'kysely';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import type { RecoveriesTable } from './schema.ts';
import type { Db } from './tables.ts';

export type RecoveryState = 'pending' | 'approved' | 'denied';

/** A request as it is stored. Times are ms since 1970. */
export interface RecoveryRow {
  readonly id: string;
  readonly hostId: string;
  /** The pin of the key that the certificate is to be for. */
  readonly spkiPin: string;
  /** The certificate that the host came with. */
  readonly serial: string;
  /** Why that one does not count. */
  readonly why: string;
  readonly state: RecoveryState;
  /** Where the request came from. */
  readonly address: string;
  readonly requestedAt: number;
  readonly expiresAt: number;
  readonly decidedBy: string | undefined;
  readonly decidedAt: number | undefined;
}

export type NewRecovery = Omit<RecoveryRow, 'state' | 'decidedBy' | 'decidedAt'>;

export interface Recoveries {
  /** Puts `recovery` in the place of what the host has asked before. */
  replace(recovery: NewRecovery): Promise<void>;
  find(id: string): Promise<RecoveryRow | undefined>;
  findOf(hostId: string): Promise<RecoveryRow | undefined>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<RecoveryRow>>;
  decide(id: string, decision: { state: RecoveryState; by: string; at: number }): Promise<void>;
  /** Forgets what the host asks for. Idempotent. */
  deleteOf(hostId: string): Promise<void>;
  /** Forgets the requests that have expired at `now`. */
  deleteExpired(now: number): Promise<void>;
}

export function recoveriesTable(db: Db): Recoveries {
  const deleteOf = async (hostId: string): Promise<void> => {
    await db.deleteFrom('recoveries').where('host_id', '=', hostId).execute();
  };

  return {
    deleteOf,

    async replace(recovery) {
      await deleteOf(recovery.hostId);
      await db.insertInto('recoveries').values(fromNewRecovery(recovery)).execute();
    },

    async find(id) {
      const row = await db.selectFrom('recoveries').selectAll().where('id', '=', id).executeTakeFirst();
      return row && toRecovery(row);
    },

    async findOf(hostId) {
      const row = await db.selectFrom('recoveries').selectAll().where('host_id', '=', hostId).executeTakeFirst();
      return row && toRecovery(row);
    },

    list: (page) => newestFirst(db.selectFrom('recoveries').selectAll(), page, toRecovery, 'requested_at'),

    async decide(id, { state, by, at }) {
      await db.updateTable('recoveries').set({ state, decided_by: by, decided_at: at }).where('id', '=', id).execute();
    },

    async deleteExpired(now) {
      await db.deleteFrom('recoveries').where('expires_at', '<=', now).execute();
    },
  };
}

function fromNewRecovery(recovery: NewRecovery): RecoveriesTable {
  return {
    id: recovery.id,
    host_id: recovery.hostId,
    spki_pin: recovery.spkiPin,
    serial: recovery.serial,
    why: recovery.why,
    state: 'pending',
    address: recovery.address,
    requested_at: recovery.requestedAt,
    expires_at: recovery.expiresAt,
    decided_by: null,
    decided_at: null,
  };
}

function toRecovery(row: Selectable<RecoveriesTable>): RecoveryRow {
  return {
    id: row.id,
    hostId: row.host_id,
    spkiPin: row.spki_pin,
    serial: row.serial,
    why: row.why,
    state: row.state as RecoveryState,
    address: row.address,
    requestedAt: row.requested_at,
    expiresAt: row.expires_at,
    decidedBy: row.decided_by ?? undefined,
    decidedAt: row.decided_at ?? undefined,
  };
}
