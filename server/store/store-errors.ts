/** What SQLite and the file system report, as the one error family; every failure of the store passes through here. */
import { statfsSync } from 'node:fs';
import Database from 'better-sqlite3';
import { FairleadError } from '../../shared/errors.ts';

/** Free space below which an I/O error counts as a full disk, in bytes. */
const FULL_BELOW_BYTES = 64 * 1024;

/** Result codes (their first words) after which the store cannot be used as it is. */
const UNAVAILABLE = /^SQLITE_(IOERR|READONLY|CANTOPEN|BUSY|LOCKED|PERM|AUTH|NOMEM|PROTOCOL|NOLFS)/;
const DAMAGED = /^SQLITE_(CORRUPT|NOTADB)/;

/**
 * The error to throw for `cause`, which met the store in `dataDir`. Constraint violations and everything that is not
 * the store's are returned as they are.
 */
export function storeError(cause: unknown, dataDir: string): unknown {
  if (cause instanceof Database.SqliteError) return sqliteError(cause, dataDir);
  if (isErrnoError(cause)) return fileError(cause, dataDir);
  return cause;
}

function sqliteError(cause: InstanceType<typeof Database.SqliteError>, dataDir: string): unknown {
  const { code } = cause;
  if (code === 'SQLITE_FULL' || (code.startsWith('SQLITE_IOERR') && isFull(dataDir))) return full(cause, dataDir);
  if (DAMAGED.test(code)) {
    return new FairleadError(
      'STORE_UNAVAILABLE',
      `the store in ${dataDir} is damaged (${code}): stop the server and restore fairlead.db from a backup`,
      { cause },
    );
  }
  if (UNAVAILABLE.test(code)) {
    return isFull(dataDir)
      ? full(cause, dataDir)
      : new FairleadError('STORE_UNAVAILABLE', `the store in ${dataDir} cannot be used: ${cause.message} (${code})`, {
          cause,
        });
  }
  return cause;
}

function fileError(cause: NodeJS.ErrnoException, dataDir: string): FairleadError {
  if (cause.code === 'ENOSPC' || cause.code === 'EDQUOT') return full(cause, dataDir);
  return new FairleadError('STORE_UNAVAILABLE', `the data directory ${dataDir} cannot be used: ${cause.message}`, {
    cause,
  });
}

function full(cause: unknown, dataDir: string): FairleadError {
  return new FairleadError('STORE_FULL', `the disk under ${dataDir} is full: nothing was changed, free some space`, {
    cause,
  });
}

function isErrnoError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}

function isFull(dataDir: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dataDir);
    return bavail * bsize < FULL_BELOW_BYTES;
  } catch {
    // The directory cannot even be asked: whatever is wrong, it is not its free space that we know of.
    return false;
  }
}
