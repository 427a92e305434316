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
 * Reads the database `file` through and puts one setting into it, which is on the disk when this returns.
 * @throws FairleadError VALIDATION if it is damaged or no store, CONFLICT if its schema is newer than this version's
 */
export function prepareRestored(file: string, setting: { key: string; value: Uint8Array }): void {
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
  } catch (cause) {
    if (cause instanceof Database.SqliteError && !/^SQLITE_(FULL|IOERR)/.test(cause.code)) throw damaged(cause.code);
    throw cause;
  } finally {
    database?.close();
  }
}

function damaged(why: string): FairleadError {
  return new FairleadError('VALIDATION', `the store in the backup is damaged (${why}): use another backup`);
}
