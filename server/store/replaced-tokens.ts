/** Tokens that end because another one takes their place. */
import type { Revocation } from './revocation-journal.ts';
import type { Db, Note } from './tables.ts';

export interface ReplaceableTokens {
  /** Notes that `successor` takes its place, and that it ends at `expiresAt`. */
  replace(id: string, successor: string, expiresAt: number): Promise<void>;
  /** For an older database: a token that was replaced since ends at `at`. @returns whether it would have gone on */
  endAt(id: string, at: number): Promise<boolean>;
}

/** @param revoked what the journal is told of a token that ends at `at`, and which an older database has end at `expiresAt` */
export function replaceableTokens(
  db: Db,
  note: Note,
  table: 'api_tokens' | 'hawser_tokens',
  revoked: (id: string, at: number, expiresAt: number | null) => Revocation,
): ReplaceableTokens {
  return {
    async replace(id, successor, expiresAt) {
      await db.updateTable(table).set({ replaced_by: successor, expires_at: expiresAt }).where('id', '=', id).execute();
      await note(revoked(id, expiresAt, null));
    },

    async endAt(id, at) {
      const { numUpdatedRows } = await db
        .updateTable(table)
        .set({ expires_at: at })
        .where('id', '=', id)
        .where('revoked_at', 'is', null)
        .where((e) => e.or([e('expires_at', 'is', null), e('expires_at', '>', at)]))
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    },
  };
}
