/** Table `hawser_tokens`: tokens by which agents of Hawser connect; of the tokens only hashes, and what they begin with. */
import type { Selectable } from 'kysely';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import { type ReplaceableTokens, replaceableTokens } from './replaced-tokens.ts';
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

export interface HawserTokenRows extends ReplaceableTokens {
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
    ...replaceableTokens(db, note, 'hawser_tokens', revokedHawserToken),

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

    list: (page) => newestFirst(db.selectFrom('hawser_tokens').selectAll(), page, toToken),

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

    async markUsed(id, at, address) {
      const set = { last_used_at: at, last_used_address: address };
      await db.updateTable('hawser_tokens').set(set).where('id', '=', id).execute();
    },
  };
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
