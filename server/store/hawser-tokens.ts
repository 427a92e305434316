/** Table `hawser_tokens`: tokens by which agents of Hawser connect; of the tokens only hashes, and what they begin with. */
import type { Selectable } from 'kysely';
import { type Page, type PageRequest, pageLimit, pageStart, toPage } from './page.ts';
import { revokedHawserToken } from './revocations.ts';
import type { HawserTokensTable } from './schema.ts';
import type { Db, Note } from './tables.ts';

/** A token as it is stored. Times are ms since 1970. */
export interface HawserTokenRow {
  readonly id: string;
  readonly name: string;
  /** The first characters of the token, by which it is found. */
  readonly prefix: string;
  /** Argon2id, with its parameters and salt. */
  readonly tokenHash: string;
  /** The host whose agents show it; undefined until it has made one. */
  readonly hostId: string | undefined;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly lastUsedAt: number | undefined;
  readonly lastUsedAddress: string | undefined;
  readonly revokedAt: number | undefined;
  /** The id of the token that was made to take its place. */
  readonly replacedBy: string | undefined;
}

export type NewHawserToken = Omit<HawserTokenRow, 'lastUsedAt' | 'lastUsedAddress' | 'revokedAt' | 'replacedBy'>;

export interface HawserTokenRows {
  insert(token: NewHawserToken): Promise<void>;
  find(id: string): Promise<HawserTokenRow | undefined>;
  /** Those that begin so and are not revoked, the newest first: `limit` at most. */
  startingWith(prefix: string, limit: number): Promise<HawserTokenRow[]>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<HawserTokenRow>>;
  /** Binds a token, and the one that took its place, to the host that it has made. */
  bind(id: string, hostId: string): Promise<void>;
  /** @returns whether it was there and not revoked before. */
  revoke(id: string, at: number): Promise<boolean>;
  /** Revokes all tokens of these hosts. @returns the ids of those that were not revoked before. */
  revokeOf(hostIds: readonly string[], at: number): Promise<string[]>;
  /** Notes that `successor` takes its place, and that it ends at `expiresAt`. */
  replace(id: string, successor: string, expiresAt: number): Promise<void>;
  /** For an older database: a token that was replaced since ends at `at`. @returns whether it would have gone on */
  endAt(id: string, at: number): Promise<boolean>;
  markUsed(id: string, at: number, address: string): Promise<void>;
}

export function hawserTokensTable(db: Db, note: Note): HawserTokenRows {
  const revokeWhere = async (column: 'id' | 'host_id', values: readonly string[], at: number): Promise<string[]> => {
    if (values.length === 0) return [];
    const rows = await db
      .updateTable('hawser_tokens')
      .set({ revoked_at: at })
      .where(column, 'in', values)
      .where('revoked_at', 'is', null)
      .returning(['id', 'expires_at', 'replaced_by'])
      .execute();
    // In an older database, one that was replaced since goes on for longer.
    await note(...rows.map((row) => revokedHawserToken(row.id, at, row.replaced_by === null ? row.expires_at : null)));
    return rows.map(({ id }) => id);
  };

  return {
    async insert(token) {
      await db.insertInto('hawser_tokens').values(fromNewToken(token)).execute();
    },

    async find(id) {
      const row = await db.selectFrom('hawser_tokens').selectAll().where('id', '=', id).executeTakeFirst();
      return row && toToken(row);
    },

    async startingWith(prefix, limit) {
      const rows = await db
        .selectFrom('hawser_tokens')
        .selectAll()
        .where('prefix', '=', prefix)
        .where('revoked_at', 'is', null)
        .orderBy('created_at', 'desc')
        .limit(limit)
        .execute();
      return rows.map(toToken);
    },

    list: (page) => list(db, page),

    async bind(id, hostId) {
      await db
        .updateTable('hawser_tokens')
        .set({ host_id: hostId })
        .where('host_id', 'is', null)
        .where((e) =>
          e.or([
            e('id', '=', id),
            e('replaced_by', '=', id),
            e('id', '=', e.selectFrom('hawser_tokens').select('replaced_by').where('id', '=', id)),
          ]),
        )
        .execute();
    },

    revoke: async (id, at) => (await revokeWhere('id', [id], at)).length > 0,
    revokeOf: (hostIds, at) => revokeWhere('host_id', hostIds, at),

    async replace(id, successor, expiresAt) {
      await db
        .updateTable('hawser_tokens')
        .set({ replaced_by: successor, expires_at: expiresAt })
        .where('id', '=', id)
        .execute();
      await note(revokedHawserToken(id, expiresAt, null));
    },

    async endAt(id, at) {
      const { numUpdatedRows } = await db
        .updateTable('hawser_tokens')
        .set({ expires_at: at })
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .where((e) => e.or([e('expires_at', 'is', null), e('expires_at', '>', at)]))
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    },

    async markUsed(id, at, address) {
      const set = { last_used_at: at, last_used_address: address };
      await db.updateTable('hawser_tokens').set(set).where('id', '=', id).execute();
    },
  };
}

async function list(db: Db, page: PageRequest): Promise<Page<HawserTokenRow>> {
  const limit = pageLimit(page);
  const start = pageStart(page, 'number');
  let query = db.selectFrom('hawser_tokens').selectAll();
  if (start !== undefined) {
    const [at, id] = start;
    query = query.where((e) => e.or([e('created_at', '<', at), e.and([e('created_at', '=', at), e('id', '<', id)])]));
  }
  const rows = await query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => [row.created_at, row.id], toToken);
}

function fromNewToken(token: NewHawserToken): HawserTokensTable {
  return {
    id: token.id,
    name: token.name,
    prefix: token.prefix,
    token_hash: token.tokenHash,
    host_id: token.hostId ?? null,
    created_by: token.createdBy,
    created_at: token.createdAt,
    expires_at: token.expiresAt ?? null,
    last_used_at: null,
    last_used_address: null,
    revoked_at: null,
    replaced_by: null,
  };
}

function toToken(row: Selectable<HawserTokensTable>): HawserTokenRow {
  return {
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    tokenHash: row.token_hash,
    hostId: row.host_id ?? undefined,
    createdBy: row.created_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at ?? undefined,
    lastUsedAt: row.last_used_at ?? undefined,
    lastUsedAddress: row.last_used_address ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
    replacedBy: row.replaced_by ?? undefined,
  };
}
