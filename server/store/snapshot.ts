/** A consistent copy of the store while it is in use. */
import { once } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import type { Snapshot, SnapshotAnswer, SnapshotFailure, SnapshotTask } from './snapshot-worker.ts';

export type { Snapshot };

/** Beside this file, and of its sort: a source, or a bundle. */
const WORKER = new URL(`snapshot-worker${extname(import.meta.url)}`, import.meta.url);

/**
 * Copies the database `source` to `destination`, which the caller removes, whole or not.
 * @throws what SQLite or the file system reports, or the reason of `signal`
 */
export async function takeSnapshot(source: string, destination: string, signal: AbortSignal): Promise<Snapshot> {
  signal.throwIfAborted();
  const worker = new Worker(WORKER, { workerData: { source, destination } satisfies SnapshotTask });
  try {
    const [answer] = (await once(worker, 'message', { signal })) as [SnapshotAnswer];
    if ('failure' in answer) throw toError(answer.failure);
    return answer.snapshot;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    // Nothing is written any more once it has ended.
    await worker.terminate();
  }
}

function toError({ message, code, isSqlite }: SnapshotFailure): Error {
  if (isSqlite) return new Database.SqliteError(message, code);
  return Object.assign(new Error(message), { code, syscall: 'snapshot' });
}
