/** Keeps the store as it was before a newer version changes its schema, so that one can go back to the older version. */
import { existsSync, readdirSync, renameSync, rmSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { syncDirectory } from '../../shared/atomic-file.ts';
import { FairleadError } from '../../shared/errors.ts';
import { VERSION } from '../../shared/version.ts';
import { SCHEMA_VERSION } from './migrate.ts';
import { readHeldSchemaState, type SchemaState } from './schema-state.ts';
import { takeSnapshot } from './snapshot.ts';
import { makeTemporary } from './temporary.ts';

const COPY_PREFIX = 'fairlead.db.before-';
/** Of how many upgrades the copies are kept, this one included. */
const KEPT_COPIES = 2;
/** What must be free beyond the copy and as much again for the changes, in bytes. */
const SPARE_BYTES = 16 * 1024 * 1024;
const MIB = 1024 * 1024;
const COPY_TIMEOUT_MS = 30 * 60_000;

/** A schema that was brought up to date. */
export interface StoreUpgrade {
  readonly fromSchema: number;
  readonly toSchema: number;
  /** The version that used the store before, where that is known. */
  readonly fromVersion: string | undefined;
  /** The file with the store as it was before. */
  readonly copy: string;
}

export interface SafetyCopyOptions {
  readonly dataDir: string;
  /** The database. */
  readonly file: string;
  readonly state: SchemaState;
  /** Free bytes of a directory's file system; the system's own word unless given. */
  readonly freeBytes?: (directory: string) => number;
}

/**
 * Copies the store if its schema is older than this version's. To be called by the holder of the directory's lock.
 * @returns what is to be done to it; undefined: nothing
 * @throws FairleadError STORE_FULL, and what SQLite or the file system reports; nothing is changed then
 */
export async function copyBeforeUpgrade(options: SafetyCopyOptions): Promise<StoreUpgrade | undefined> {
  const { dataDir, file, state } = options;
  const { schemaVersion: fromSchema, writer: fromVersion } = state;
  if (fromSchema === 0 || fromSchema >= SCHEMA_VERSION) return undefined;
  const copy = join(dataDir, COPY_PREFIX + VERSION);
  const upgrade = { fromSchema, toSchema: SCHEMA_VERSION, fromVersion, copy };
  if (isCutOff(copy, state)) return upgrade;
  requireRoom(options);
  const directory = makeTemporary(dataDir, 'upgrade.tmp');
  const made = join(directory, 'fairlead.db');
  try {
    await takeSnapshot(file, made, AbortSignal.timeout(COPY_TIMEOUT_MS));
    renameSync(made, copy);
    await syncDirectory(dataDir);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  dropOlder(dataDir, copy);
  return upgrade;
}

/** Whether the copy is of this very upgrade, which was cut off between two of its steps: it is the one to go back to. */
function isCutOff(copy: string, { schemaVersion, writer }: SchemaState): boolean {
  if (writer === VERSION || !existsSync(copy)) return false;
  const before = readHeldSchemaState(copy).schemaVersion;
  // Of the same one it may be from before somebody went back, and worked on.
  return before > 0 && before < schemaVersion;
}

function requireRoom({ dataDir, file, state, freeBytes = freeBytesOf }: SafetyCopyOptions): void {
  const log = `${file}-wal`;
  const size = statSync(file).size + (existsSync(log) ? statSync(log).size : 0);
  const needed = 2 * size + SPARE_BYTES;
  const free = freeBytes(dataDir);
  if (free >= needed) return;
  throw new FairleadError(
    'STORE_FULL',
    `the store in ${dataDir} must be copied before it goes from schema version ${state.schemaVersion} to ${SCHEMA_VERSION}, which takes ${Math.ceil(needed / MIB)} MiB where ${Math.floor(free / MIB)} are free: nothing was changed, free some space`,
  );
}

function freeBytesOf(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

/** Removes all but the newest copies. */
function dropOlder(dataDir: string, newest: string): void {
  const others = readdirSync(dataDir)
    .filter((name) => name.startsWith(COPY_PREFIX))
    .map((name) => join(dataDir, name))
    .filter((path) => path !== newest)
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  for (const path of others.slice(KEPT_COPIES - 1)) rmSync(path, { recursive: true, force: true });
}
