/** Table `api_tokens`: who may use the API; of the secrets only the hashes. */
import type { Selectable } from 'kysely';
import type { Role } from '../../shared/messages/kind.ts';
import { type HostScope, readScope, writeScope } from './host-scope.ts';
import { newestFirst, type Page, type PageRequest } from './page.ts';
import { type ReplaceableTokens, replaceableTokens } from './replaced-tokens.ts';
import { revokedApiToken } from './revocations.ts';
import type { ApiTokensTable } from './schema.ts';
import type { Db, Note } from './tables.ts';

/** A token as it is stored. Times are ms since 1970. */
export interface ApiTokenRow {
  readonly id: string;
  readonly name: string;
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array;
  readonly role: Role;
  /** Undefined: all hosts. */
  readonly scope: HostScope | undefined;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly lastUsedAt: number | undefined;
  readonly lastUsedAddress: string | undefined;
  readonly revokedAt: number | undefined;
  /** The id of the token that was made to take its place. */
  readonly replacedBy: string | undefined;
}

export type NewApiToken = Omit<ApiTokenRow, 'lastUsedAt' | 'lastUsedAddress' | 'revokedAt' | 'replacedBy'>;

export interface ApiTokenRows extends ReplaceableTokens {
  insert(token: NewApiToken): Promise<void>;
  find(id: string): Promise<ApiTokenRow | undefined>;
  /** Newest first. */
  list(page: PageRequest): Promise<Page<ApiTokenRow>>;
  /** Whether there was never one: revoked ones count. */
  isEmpty(): Promise<boolean>;
  /** @returns whether it was there and not revoked before. */
  revoke(id: string, at: number): Promise<boolean>;
  /** The token whose place this one took. */
  predecessor(id: string): Promise<ApiTokenRow | undefined>;
  /** Notes a use at `at` from `address`, unless one after `unlessAfter` is noted. */
  markUsed(id: string, at: number, address: string | undefined, unlessAfter: number): Promise<void>;
}

export function apiTokensTable(db: Db, note: Note): ApiTokenRows {
  return {
    ...replaceableTokens(db, note, 'api_tokens', revokedApiToken),

    async insert(token) {
      await db.insertInto('api_tokens').values(fromNewToken(token)).execute();
    },

    async find(id) {
      const row = await db.selectFrom('api_tokens').selectAll().where('id', '=', id).executeTakeFirst();
      return row && toToken(row);
    },

    list: (page) => newestFirst(db.selectFrom('api_tokens').selectAll(), page, toToken),

    async isEmpty() {
      return (await db.selectFrom('api_tokens').select('id').limit(1).executeTakeFirst()) === undefined;
    },

    async revoke(id, at) {
      const row = await db
        .updateTable('api_tokens')
        .set({ revoked_at: at })
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .returning(['expires_at', 'replaced_by'])
        .executeTakeFirst();
      // In an older database, one that was replaced since goes on for longer.
      if (row !== undefined) await note(revokedApiToken(id, at, row.replaced_by === null ? row.expires_at : null));
      return row !== undefined;
    },

    async predecessor(id) {
      const row = await db.selectFrom('api_tokens').selectAll().where('replaced_by', '=', id).executeTakeFirst();
      return row && toToken(row);
    },

    async markUsed(id, at, address, unlessAfter) {
      await db
        .updateTable('api_tokens')
        .set({ last_used_at: at, last_used_address: address ?? null })
        .where('id', '=', id)
        .where((e) => e.or([e('last_used_at', 'is', null), e('last_used_at', '<=', unlessAfter)]))
        .execute();
    },
  };
}

function fromNewToken(token: NewApiToken): ApiTokensTable {
  return {
    id: token.id,
    name: token.name,
    secret_hash: token.secretHash,
    role: token.role,
    created_by: token.createdBy,
    created_at: token.createdAt,
    expires_at: token.expiresAt ?? null,
    last_used_at: null,
    revoked_at: null,
    scope: writeScope(token.scope),
    last_used_address: null,
    replaced_by: null,
  };
}

function toToken(row: Selectable<ApiTokensTable>): ApiTokenRow {
  return {
    id: row.id,
    name: row.name,
    secretHash: row.secret_hash,
    role: row.role as Role,
    scope: readScope(row.scope),
    createdBy: row.created_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at ?? undefined,
    lastUsedAt: row.last_used_at ?? undefined,
    lastUsedAddress: row.last_used_address ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
    replacedBy: row.replaced_by ?? undefined,
  };
}
