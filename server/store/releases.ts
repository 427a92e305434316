/** Tables `releases` and `release_files`: releases of the agent, and which of their files are there. */
import type { Selectable } from 'kysely';
import { SignedRelease } from '../../shared/releases/release.ts';
import { validate } from '../../shared/validate.ts';
import type { ReleaseFilesTable, ReleasesTable } from './schema.ts';
import type { Db } from './tables.ts';

/** The executable of a release for one platform. */
export interface ReleaseFile {
  readonly signed: SignedRelease;
  /** Of the compressed executable; undefined until that is there. */
  readonly gzBytes: number | undefined;
  /** ms since 1970. */
  readonly storedAt: number | undefined;
}

export interface NewRelease {
  readonly sequence: number;
  readonly version: string;
  /** Whether its signatures were checked by keys of this server. */
  readonly verified: boolean;
  readonly createdBy: string;
  /** ms since 1970. */
  readonly createdAt: number;
}

export interface ReleaseRow extends NewRelease {
  /** In the order of their platforms. */
  readonly files: readonly ReleaseFile[];
}

export interface ReleaseRows {
  insert(release: NewRelease, files: readonly SignedRelease[]): Promise<void>;
  find(sequence: number): Promise<ReleaseRow | undefined>;
  /** All of them, the newest first: their number is bounded by whoever adds some. */
  all(): Promise<ReleaseRow[]>;
  /** Says of a file that it is there, or that it is not (any more). */
  setStored(file: Pick<SignedRelease, 'sequence' | 'os' | 'arch'>, stored: StoredFile | undefined): Promise<void>;
  /** @returns whether there was such a release */
  delete(sequence: number): Promise<boolean>;
}

export interface StoredFile {
  readonly gzBytes: number;
  readonly at: number;
}

export function releasesTable(db: Db): ReleaseRows {
  const filesOf = async (sequence: number): Promise<ReleaseFile[]> => {
    const query = db.selectFrom('release_files').selectAll().where('sequence', '=', sequence);
    return (await query.orderBy('os').orderBy('arch').execute()).map(toFile);
  };

  return {
    async insert({ sequence, version, verified, createdBy, createdAt }, files) {
      const row = { sequence, version, verified: verified ? 1 : 0, created_by: createdBy, created_at: createdAt };
      await db.insertInto('releases').values(row).execute();
      const rows = files.map((signed) => {
        const { os, arch } = signed;
        return { sequence, os, arch, signed: JSON.stringify(signed), gz_bytes: null, stored_at: null };
      });
      await db.insertInto('release_files').values(rows).execute();
    },

    async find(sequence) {
      const row = await db.selectFrom('releases').selectAll().where('sequence', '=', sequence).executeTakeFirst();
      return row && toRelease(row, await filesOf(sequence));
    },

    async all() {
      const rows = await db.selectFrom('releases').selectAll().orderBy('sequence', 'desc').execute();
      const releases: ReleaseRow[] = [];
      for (const row of rows) releases.push(toRelease(row, await filesOf(row.sequence)));
      return releases;
    },

    async setStored({ sequence, os, arch }, stored) {
      await db
        .updateTable('release_files')
        .set({ gz_bytes: stored?.gzBytes ?? null, stored_at: stored?.at ?? null })
        .where('sequence', '=', sequence)
        .where('os', '=', os)
        .where('arch', '=', arch)
        .execute();
    },

    async delete(sequence) {
      await db.deleteFrom('release_files').where('sequence', '=', sequence).execute();
      const { numDeletedRows } = await db.deleteFrom('releases').where('sequence', '=', sequence).executeTakeFirst();
      return numDeletedRows > 0n;
    },
  };
}

function toFile(row: Selectable<ReleaseFilesTable>): ReleaseFile {
  return {
    signed: validate(SignedRelease, JSON.parse(row.signed), 'a release in the store', 'STORE_UNAVAILABLE'),
    gzBytes: row.gz_bytes ?? undefined,
    storedAt: row.stored_at ?? undefined,
  };
}

function toRelease(row: Selectable<ReleasesTable>, files: readonly ReleaseFile[]): ReleaseRow {
  return {
    sequence: row.sequence,
    version: row.version,
    verified: row.verified === 1,
    createdBy: row.created_by,
    createdAt: row.created_at,
    files,
  };
}
