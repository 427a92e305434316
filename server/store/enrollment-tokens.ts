/** Table `enrollment_tokens`: tokens by which one host each joins; of their secrets only the hashes. */
import type { Selectable } from 'kysely';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import { spentEnrollmentToken } from './revocations.ts';
import type { EnrollmentTokensTable } from './schema.ts';
import { type Db, type Note, readStrings } from './tables.ts';

/** A token as it is stored. Times are ms since 1970. */
export interface EnrollmentTokenRow {
  readonly id: string;
  readonly name: string | undefined;
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array;
  readonly hostName: string | undefined;
  /** The id of the host that it takes over; undefined: it makes one. */
  readonly adopts: string | undefined;
  readonly tags: string[];
  readonly createdBy: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revokedAt: number | undefined;
  readonly use: TokenUse | undefined;
}

/** What a token was used for. */
export interface TokenUse {
  readonly at: number;
  readonly hostId: string;
  readonly serial: string;
  readonly spkiPin: string;
}

export type NewEnrollmentToken = Omit<EnrollmentTokenRow, 'adopts' | 'revokedAt' | 'use'> & {
  readonly adopts?: string | undefined;
};

export interface EnrollmentTokens {
  insert(token: NewEnrollmentToken): Promise<void>;
  find(id: string): Promise<EnrollmentTokenRow | undefined>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<EnrollmentTokenRow>>;
  /** @returns whether it was there and not revoked before. */
  revoke(id: string, at: number): Promise<boolean>;
  /** The newest of those that take this host over: of those that are not revoked, if there are any. */
  adopting(hostId: string): Promise<EnrollmentTokenRow | undefined>;
  /** Revokes those that take this host over. @returns the ids of those that were not revoked before */
  revokeAdopting(hostId: string, at: number, which: 'unused' | 'all'): Promise<string[]>;
  /**
   * Uses the token up if, at `use.at`, it is neither used nor revoked nor expired; one statement, so one caller wins.
   * @returns whether this caller did.
   */
  use(id: string, use: TokenUse): Promise<boolean>;
}

export function enrollmentTokensTable(db: Db, note: Note): EnrollmentTokens {
  const revokeWhere = async (
    column: 'id' | 'adopts',
    value: string,
    at: number,
    which: 'unused' | 'all',
  ): Promise<string[]> => {
    let query = db
      .updateTable('enrollment_tokens')
      .set({ revoked_at: at })
      .where(column, '=', value)
      .where('revoked_at', 'is', null);
    if (which === 'unused') query = query.where('used_at', 'is', null);
    const rows = await query.returning(['id', 'expires_at']).execute();
    await note(...rows.map((row) => spentEnrollmentToken('revoked', row.id, at, row.expires_at)));
    return rows.map(({ id }) => id);
  };

  return {
    async insert(token) {
      await db.insertInto('enrollment_tokens').values(fromNewToken(token)).execute();
    },

    async find(id) {
      const row = await db.selectFrom('enrollment_tokens').selectAll().where('id', '=', id).executeTakeFirst();
      return row && toToken(row);
    },

    list: (page) => newestFirst(db.selectFrom('enrollment_tokens').selectAll(), page, toToken),

    revoke: async (id, at) => (await revokeWhere('id', id, at, 'all')).length > 0,
    revokeAdopting: (hostId, at, which) => revokeWhere('adopts', hostId, at, which),

    async adopting(hostId) {
      const row = await db
        .selectFrom('enrollment_tokens')
        .selectAll()
        .where('adopts', '=', hostId)
        .orderBy((e) => e.case().when('revoked_at', 'is', null).then(0).else(1).end())
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .executeTakeFirst();
      return row && toToken(row);
    },

    async use(id, { at, hostId, serial, spkiPin }) {
      const row = await db
        .updateTable('enrollment_tokens')
        .set({ used_at: at, host_id: hostId, serial, spki_pin: spkiPin })
        .where('id', '=', id)
        .where('used_at', 'is', null)
        .where('revoked_at', 'is', null)
        .where('expires_at', '>', at)
        .returning('expires_at')
        .executeTakeFirst();
      if (row !== undefined) await note(spentEnrollmentToken('used', id, at, row.expires_at));
      return row !== undefined;
    },
  };
}

function fromNewToken(token: NewEnrollmentToken): EnrollmentTokensTable {
  return {
    id: token.id,
    name: token.name ?? null,
    secret_hash: token.secretHash,
    host_name: token.hostName ?? null,
    tags: JSON.stringify(token.tags),
    created_by: token.createdBy,
    created_at: token.createdAt,
    expires_at: token.expiresAt,
    revoked_at: null,
    used_at: null,
    host_id: null,
    serial: null,
    spki_pin: null,
    adopts: token.adopts ?? null,
  };
}

function toToken(row: Selectable<EnrollmentTokensTable>): EnrollmentTokenRow {
  return {
    id: row.id,
    name: row.name ?? undefined,
    secretHash: row.secret_hash,
    hostName: row.host_name ?? undefined,
    adopts: row.adopts ?? undefined,
    tags: readStrings(row.tags),
    createdBy: row.created_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at ?? undefined,
    use: toUse(row),
  };
}

function toUse({ used_at, host_id, serial, spki_pin }: Selectable<EnrollmentTokensTable>): TokenUse | undefined {
  if (used_at === null || host_id === null || serial === null || spki_pin === null) return undefined;
  return { at: used_at, hostId: host_id, serial, spkiPin: spki_pin };
}
