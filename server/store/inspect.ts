/** Looks into a store that a server may hold or that does not open, and writes nothing to it. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { readSchemaState, refuseNewerSchema, type SchemaState } from './schema-state.ts';
import { storeError } from './store-errors.ts';

/** Larger ones are not read through. */
const MAX_CHECKED_BYTES = 256 * 1024 * 1024;
const LOCK_FILE = 'fairlead.lock';

export interface InspectedStore {
  readonly state: SchemaState;
  /** Why a server does not open it; absent: nothing was found. */
  readonly problem?: FairleadError;
  /** The value of a setting; absent where it cannot be read. */
  readonly settings?: (key: string) => Buffer | undefined;
}

/** @param file the database, which need not exist */
export async function inspectStore(file: string, dataDir: string): Promise<InspectedStore> {
  const none: SchemaState = { schemaVersion: 0, writer: undefined };
  let state = none;
  try {
    state = readSchemaState(file);
    if (state.schemaVersion === 0) return { state };
    const values = readThrough(file);
    refuseNewerSchema(state, dataDir);
    return { state, settings: (key) => values.get(key) };
  } catch (cause) {
    const problem = storeError(cause, dataDir);
    if (!isFairleadError(problem)) throw cause;
    return { state, problem };
  }
}

/** Checks the file, and reads the settings. @throws SQLite's error */
function readThrough(file: string): Map<string, Buffer> {
  const database = new Database(file, { readonly: true });
  try {
    if (statSync(file).size <= MAX_CHECKED_BYTES) {
      const found = database.pragma('quick_check(1)', { simple: true });
      if (found !== 'ok') throw new Database.SqliteError(String(found), 'SQLITE_CORRUPT');
    }
    const rows = database.prepare('select key, value from settings').all() as { key: string; value: Uint8Array }[];
    return new Map(rows.map(({ key, value }) => [key, Buffer.from(value)]));
  } finally {
    database.close();
  }
}

/** Whether a server holds the directory now. */
export function isLocked(dataDir: string): boolean {
  const file = join(dataDir, LOCK_FILE);
  if (!existsSync(file)) return false;
  const database = new Database(file, { readonly: true, timeout: 0 });
  try {
    database.prepare('select count(*) from sqlite_schema').get();
    return false;
  } catch (cause) {
    if (cause instanceof Database.SqliteError && cause.code.startsWith('SQLITE_BUSY')) return true;
    throw new FairleadError('STORE_UNAVAILABLE', `${file} cannot be read: ${(cause as Error).message}`, { cause });
  } finally {
    database.close();
  }
}
