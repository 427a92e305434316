/**
 * Makes a data directory out of a backup, offline. Everything is unpacked and checked inside the directory first; then it
 * takes the place of what was there in one moment, so that whenever this ends, the old content counts or the new one.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { type DirectoryLock, lockDirectory } from '../store/lock.ts';
import { contentNames, finishReplacement, type OnStep, replaceContent } from '../store/replace-content.ts';
import { prepareRestored, requireKnownSchema } from '../store/restored-database.ts';
import { readJournal } from '../store/revocation-journal.ts';
import { storeError } from '../store/store-errors.ts';
import { makeTemporary, removeTemporaries } from '../store/temporary.ts';
import { DATABASE, JOURNAL, type Manifest } from './manifest.ts';
import { readBackupWith } from './read.ts';
import { restoreNote } from './restore-note.ts';
import { mergeJournals } from './revocations.ts';

export interface RestoreOptions {
  readonly file: string;
  readonly passphrase: string;
  /** Made if it does not exist. */
  readonly dataDir: string;
  /** A journal of revocations of after the backup. */
  readonly revocations?: string | undefined;
  /** Puts the content of a data directory that is in use for an installation aside. */
  readonly force?: boolean | undefined;
  /** The user of the operating system, for the audit log. */
  readonly by: string;
  readonly clock: Pick<Clock, 'now'>;
  /** Told before each step that changes the directory. */
  readonly onStep?: OnStep | undefined;
}

export interface Restored {
  readonly manifest: Manifest;
  /** Absolute. */
  readonly dataDir: string;
  /** Where the old content is, if there was any. */
  readonly aside: string | undefined;
  /** Revocations that the backup did not have. */
  readonly journaledRevocations: number;
}

/**
 * Restores `file` into `dataDir`.
 * @throws FairleadError in one sentence; nothing was changed then: VALIDATION for a backup that cannot be read, CONFLICT for
 *   a directory that is in use or not empty, or a backup of a newer version, STORE_FULL, STORE_UNAVAILABLE
 */
export async function restoreBackup(options: RestoreOptions): Promise<Restored> {
  const dataDir = resolve(options.dataDir);
  if (options.revocations !== undefined && !existsSync(options.revocations)) {
    throw new FairleadError('NOT_FOUND', `there is no file ${options.revocations}`);
  }
  let target: Target | undefined;
  try {
    let staged = '';
    const manifest = await readBackupWith(options.file, options.passphrase, {
      manifest: ({ schemaVersion }) => {
        requireKnownSchema(schemaVersion);
        target = holdTarget(dataDir, options.force === true);
        options.onStep?.('unpack');
        staged = makeTemporary(dataDir, 'restore.tmp');
      },
      part: async ({ name }, bytes) => await writePart(join(staged, name), bytes),
    });
    options.onStep?.('check');
    const journaledRevocations = await addRevocations(dataDir, staged, options.revocations);
    prepareDatabase(staged, manifest, journaledRevocations, options);
    await syncFile(join(staged, DATABASE));
    const aside = replaceContent(dataDir, staged, options.clock.now(), options.onStep);
    target?.keep();
    return { manifest, dataDir, aside, journaledRevocations };
  } catch (error) {
    throw storeError(error, dataDir);
  } finally {
    target?.release();
  }
}

/** A directory that is held for a restore. */
interface Target {
  /** Says that it has its new content. */
  keep(): void;
  /** Lets go of it; what was made for nothing is removed. */
  release(): void;
}

/** @throws FairleadError CONFLICT if a server uses it or it must not be replaced */
function holdTarget(dataDir: string, force: boolean): Target {
  const hadLock = existsSync(join(dataDir, 'fairlead.lock'));
  const made = mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  let lock: DirectoryLock | undefined;
  let isKept = false;
  const release = () => {
    if (!isKept && lock !== undefined) {
      removeTemporaries(dataDir);
      if (!hadLock) rmSync(join(dataDir, 'fairlead.lock'), { force: true });
    }
    lock?.release();
    if (!isKept && made !== undefined) removeEmpty(dataDir, made);
  };
  try {
    lock = lockDirectory(dataDir);
    finishReplacement(dataDir);
    requireReplaceable(dataDir, force);
  } catch (error) {
    release();
    throw error;
  }
  return {
    keep: () => {
      isKept = true;
    },
    release,
  };
}

/** Removes `directory` and those above it up to `made`, as far as they are empty. */
function removeEmpty(directory: string, made: string): void {
  for (let at = directory; readdirSync(at).length === 0; at = dirname(at)) {
    rmdirSync(at);
    if (at === made) return;
  }
}

function requireReplaceable(dataDir: string, force: boolean): void {
  // A journal that was put there beforehand is to be taken in, not to be protected.
  const names = contentNames(dataDir).filter((name) => name !== JOURNAL);
  if (names.length === 0) return;
  if (!names.includes(DATABASE)) {
    throw new FairleadError('CONFLICT', `${dataDir} is not empty and no data directory of Fairlead: choose another`);
  }
  if (force) return;
  throw new FairleadError(
    'CONFLICT',
    `${dataDir} holds an installation already: choose another directory, or --force to put that one aside`,
  );
}

async function writePart(file: string, bytes: AsyncIterable<Buffer>): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    for await (const chunk of bytes) await handle.writeFile(chunk);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** @returns how many revocations the backup did not have */
async function addRevocations(dataDir: string, staged: string, given: string | undefined): Promise<number> {
  const own = join(staged, JOURNAL);
  const there = join(dataDir, JOURNAL);
  const others = [there, ...(given === undefined ? [] : [given])].filter(existsSync);
  if (others.length === 0) return 0;
  for (const journal of others) requireWhole(journal);
  if (!existsSync(own)) await writePart(own, emptyStream());
  return await mergeJournals(own, [own, ...others]);
}

/** @throws FairleadError VALIDATION for a journal with which no server would start */
function requireWhole(journal: string): void {
  try {
    readJournal(journal);
  } catch (error) {
    throw isFairleadError(error) ? new FairleadError('VALIDATION', error.message, { cause: error }) : error;
  }
}

async function* emptyStream(): AsyncGenerator<Buffer> {
  // A file without a byte.
}

function prepareDatabase(
  staged: string,
  manifest: Manifest,
  journaledRevocations: number,
  { by, clock }: RestoreOptions,
): void {
  const note = restoreNote({
    restoredAt: new Date(clock.now()).toISOString(),
    restoredBy: by,
    backupCreatedAt: manifest.createdAt,
    backupCreatedBy: manifest.createdBy,
    backupVersion: manifest.version,
    journaledRevocations,
  });
  prepareRestored(join(staged, DATABASE), note, clock.now());
}

async function syncFile(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
