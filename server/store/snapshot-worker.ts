/**
 * Copies the store in a thread of its own, so that neither the copying nor the disk's syncs hold up the server: it reads
 * within one transaction, so the copy is the store as it was at one moment, whatever is written meanwhile.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import Database from 'better-sqlite3';

export interface SnapshotTask {
  readonly source: string;
  readonly destination: string;
}

export interface Snapshot {
  readonly schemaVersion: number;
  readonly size: number;
  readonly sha256: string;
}

/** An error in a form that crosses threads. */
export interface SnapshotFailure {
  readonly message: string;
  readonly code: string;
  readonly isSqlite: boolean;
}

export type SnapshotAnswer = { readonly snapshot: Snapshot } | { readonly failure: SnapshotFailure };

const BUSY_TIMEOUT_MS = 5_000;
/** 4 MiB. What was copied goes to the disk step by step, lest the server's own writes wait behind all of it at the end. */
const STEP_PAGES = 1024;
const HASHED_BYTES = 1024 * 1024;

parentPort?.postMessage(await answer(workerData as SnapshotTask));

async function answer(task: SnapshotTask): Promise<SnapshotAnswer> {
  try {
    await copy(task);
    const schemaVersion = check(task.destination);
    return { snapshot: { schemaVersion, ...digest(task.destination) } };
  } catch (error) {
    const { message, code = 'unknown' } = error as Error & { code?: string };
    return { failure: { message, code, isSqlite: error instanceof Database.SqliteError } };
  }
}

async function copy({ source, destination }: SnapshotTask): Promise<void> {
  const descriptor = openSync(destination, 'wx', 0o600);
  const database = new Database(source, { readonly: true, timeout: BUSY_TIMEOUT_MS });
  try {
    database.exec('begin');
    // A transaction begins with its first read; the copy would start afresh at each write without one.
    database.prepare('select count(*) from sqlite_schema').get();
    await database.backup(destination, {
      progress: () => {
        fsyncSync(descriptor);
        return STEP_PAGES;
      },
    });
  } finally {
    database.close();
    closeSync(descriptor);
  }
}

/** A copy that is damaged means that the store is: better told now than when it is needed. @returns the schema's version */
function check(file: string): number {
  const database = new Database(file);
  try {
    const found = database.pragma('quick_check(1)', { simple: true });
    if (found !== 'ok') throw new Database.SqliteError(String(found), 'SQLITE_CORRUPT');
    return database.prepare('select max(version) from schema_version').pluck().get() as number;
  } finally {
    database.close();
  }
}

function digest(file: string): { size: number; sha256: string } {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(HASHED_BYTES);
  const descriptor = openSync(file, 'r');
  try {
    let size = 0;
    for (;;) {
      const read = readSync(descriptor, buffer);
      if (read === 0) return { size, sha256: hash.digest('hex') };
      hash.update(buffer.subarray(0, read));
      size += read;
    }
  } finally {
    closeSync(descriptor);
  }
}
