/** A database that came out of a backup: checked before it is put in its place. */
import Database from 'better-sqlite3';
import { FairleadError } from '../../shared/errors.ts';
import { SCHEMA_VERSION } from './migrate.ts';

/** @throws FairleadError CONFLICT if this version cannot read a store with that schema */
export function requireKnownSchema(schemaVersion: number): void {
  if (schemaVersion <= SCHEMA_VERSION) return;
  throw new FairleadError(
    'CONFLICT',
    `the store in the backup has schema version ${schemaVersion}, this version knows up to ${SCHEMA_VERSION}: use a newer version of Fairlead`,
  );
}

/**
 * Reads the database `file` through, puts one setting into it, and ends what would go on by itself, as if nothing had happened
 * since the backup. All of it is on the disk when this returns.
 * @param now ms since 1970
 * @throws FairleadError VALIDATION if it is damaged or no store, CONFLICT if its schema is newer than this version's
 */
export function prepareRestored(file: string, setting: { key: string; value: Uint8Array }, now: number): void {
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { fileMustExist: true });
    const found = database.pragma('integrity_check(1)', { simple: true });
    if (found !== 'ok') throw damaged(String(found));
    requireKnownSchema(database.prepare('select max(version) from schema_version').pluck().get() as number);
    // One file and no log beside it, so that it can be moved alone.
    database.pragma('journal_mode = DELETE');
    database.pragma('synchronous = FULL');
    database.prepare('insert or replace into settings (key, value) values (?, ?)').run(setting.key, setting.value);
    endTransfers(database, now);
  } catch (cause) {
    if (cause instanceof Database.SqliteError && !/^SQLITE_(FULL|IOERR)/.test(cause.code)) throw damaged(cause.code);
    throw cause;
  } finally {
    database?.close();
  }
}

/** What they were to replace has changed since, maybe by these very transfers: nobody wants it replaced again. */
function endTransfers(database: Database.Database, now: number): void {
  const table = database
    .prepare("select 1 from sqlite_master where type = 'table' and name = 'volume_transfers'")
    .get();
  // Older versions had none.
  if (table === undefined) return;
  const set = "state = 'failed', code = 'CANCELLED', detail = 'the store was restored from a backup', ended_at = ?";
  database.prepare(`update volume_transfers set ${set} where ended_at is null`).run(now);
}

function damaged(why: string): FairleadError {
  return new FairleadError('VALIDATION', `the store in the backup is damaged (${why}): use another backup`);
}
