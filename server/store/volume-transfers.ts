/** Table `volume_transfers`: volumes that are carried from host to host. Rows outlive their hosts, as those of the audit log do. */
import type { Selectable } from 'kysely';
import { type HostScope, inScope } from './host-scope.ts';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import type { VolumeTransfersTable } from './schema.ts';
import { type Db, forgetEnded } from './tables.ts';

export type VolumeTransferState = 'queued' | 'running' | 'waiting' | 'done' | 'failed' | 'cancelled';

/** One end of a transfer. */
export interface VolumeEnd {
  readonly hostId: string;
  readonly volume: string;
}

/** What changes as a transfer goes on. Times are ms since 1970. */
export interface VolumeTransferProgress {
  readonly state: VolumeTransferState;
  /** How much of the tar the target has. */
  readonly bytes: number;
  /** About how long the tar will be; undefined while nobody knows. */
  readonly total: number | undefined;
  /** How much came over the link from the source in all attempts. */
  readonly carried: number;
  /** How often it went on behind its beginning, and how often it began anew. */
  readonly resumes: number;
  readonly restarts: number;
  /** What whoever asked for it should know. */
  readonly note: string | undefined;
  /** Why it waits or has failed. */
  readonly code: string | undefined;
  readonly detail: string | undefined;
  /** When it last came further. */
  readonly progressAt: number;
  readonly endedAt: number | undefined;
}

export interface VolumeTransferRow extends VolumeTransferProgress {
  readonly id: string;
  readonly from: VolumeEnd;
  readonly to: VolumeEnd;
  readonly replaces: boolean;
  readonly forced: boolean;
  readonly createdBy: string;
  readonly createdAt: number;
}

export interface VolumeTransferRows {
  insert(row: VolumeTransferRow): Promise<void>;
  find(id: string): Promise<VolumeTransferRow | undefined>;
  /** Those that have not ended, oldest first. */
  active(): Promise<VolumeTransferRow[]>;
  /** Newest first; with a scope those of which both hosts are in it. */
  list(page: PageRequest, scope?: HostScope): Promise<Page<VolumeTransferRow>>;
  update(id: string, progress: VolumeTransferProgress): Promise<void>;
  /** Forgets those that ended first, beyond `keep`. */
  prune(keep: number): Promise<void>;
}

export function volumeTransfersTable(db: Db): VolumeTransferRows {
  return {
    async insert(row) {
      await db.insertInto('volume_transfers').values(fromRow(row)).execute();
    },

    async find(id) {
      const row = await db.selectFrom('volume_transfers').selectAll().where('id', '=', id).executeTakeFirst();
      return row && toRow(row);
    },

    async active() {
      const rows = await db
        .selectFrom('volume_transfers')
        .selectAll()
        .where('ended_at', 'is', null)
        .orderBy('created_at')
        .orderBy('id')
        .execute();
      return rows.map(toRow);
    },

    async list(page, scope) {
      let query = db.selectFrom('volume_transfers').selectAll();
      if (scope !== undefined) {
        query = query.where((e) => e.and([inScope(e.ref('from_host'), scope), inScope(e.ref('to_host'), scope)]));
      }
      return await newestFirst(query, page, toRow);
    },

    async update(id, progress) {
      await db.updateTable('volume_transfers').set(fromProgress(progress)).where('id', '=', id).execute();
    },

    prune: (keep) => forgetEnded(db, 'volume_transfers', keep),
  };
}

function fromProgress(progress: VolumeTransferProgress) {
  return {
    state: progress.state,
    bytes: progress.bytes,
    total: progress.total ?? null,
    carried: progress.carried,
    resumes: progress.resumes,
    restarts: progress.restarts,
    note: progress.note ?? null,
    code: progress.code ?? null,
    detail: progress.detail ?? null,
    progress_at: progress.progressAt,
    ended_at: progress.endedAt ?? null,
  };
}

function fromRow(row: VolumeTransferRow): VolumeTransfersTable {
  return {
    id: row.id,
    from_host: row.from.hostId,
    from_volume: row.from.volume,
    to_host: row.to.hostId,
    to_volume: row.to.volume,
    replaces: row.replaces ? 1 : 0,
    forced: row.forced ? 1 : 0,
    created_by: row.createdBy,
    created_at: row.createdAt,
    ...fromProgress(row),
  };
}

function toRow(row: Selectable<VolumeTransfersTable>): VolumeTransferRow {
  return {
    id: row.id,
    from: { hostId: row.from_host, volume: row.from_volume },
    to: { hostId: row.to_host, volume: row.to_volume },
    replaces: row.replaces === 1,
    forced: row.forced === 1,
    createdBy: row.created_by,
    createdAt: row.created_at,
    state: row.state as VolumeTransferState,
    bytes: row.bytes,
    total: row.total ?? undefined,
    carried: row.carried,
    resumes: row.resumes,
    restarts: row.restarts,
    note: row.note ?? undefined,
    code: row.code ?? undefined,
    detail: row.detail ?? undefined,
    progressAt: row.progress_at,
    endedAt: row.ended_at ?? undefined,
  };
}
