/** Keeps a data directory to one server at a time. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { FairleadError } from '../../shared/errors.ts';
import { createPrivateFile } from './private-files.ts';
import { storeError } from './store-errors.ts';

export interface DirectoryLock {
  /** Idempotent. */
  release(): void;
}

/**
 * Locks `dataDir` until release or the end of the process, however it ends: the lock is an exclusive transaction on a
 * database of its own, so it rests on the kernel's file locks and leaves nothing behind after a crash.
 * @throws FairleadError CONFLICT if another process (or another store of this one) holds it.
 */
export function lockDirectory(dataDir: string): DirectoryLock {
  const file = join(dataDir, 'fairlead.lock');
  let database: Database.Database | undefined;
  try {
    createPrivateFile(file);
    database = new Database(file, { timeout: 0 });
    database.pragma('journal_mode = MEMORY');
    database.exec('begin exclusive');
  } catch (cause) {
    database?.close();
    if (cause instanceof Database.SqliteError && cause.code.startsWith('SQLITE_BUSY')) {
      throw new FairleadError('CONFLICT', `data directory ${dataDir} is in use by another fairlead-server`, { cause });
    }
    throw storeError(cause, dataDir);
  }
  const held = database;
  return { release: () => void held.close() };
}
