/** Files that are there whole or not at all, and that last through a power cut. */
import { link, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDirectory } from '../../shared/atomic-file.ts';
import { FairleadError } from '../../shared/errors.ts';

/** The bytes of `file`, or undefined if there is none. @throws FairleadError STORE_UNAVAILABLE */
export async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') return undefined;
    throw new FairleadError('STORE_UNAVAILABLE', `${file} cannot be read (${codeOf(cause)})`, { cause });
  }
}

/**
 * Makes `file`; one that is there already is never touched.
 * @throws FairleadError CONFLICT if it is there, STORE_FULL, STORE_UNAVAILABLE
 */
export async function createFile(file: string, content: string, mode: number): Promise<void> {
  await place(file, content, mode, async (temporary) => {
    // Unlike a rename, a link fails where something is.
    await link(temporary, file);
    await rm(temporary);
  });
}

/** Puts `content` in the place of whatever `file` is. @throws FairleadError STORE_FULL, STORE_UNAVAILABLE */
export async function replaceFile(file: string, content: string, mode: number): Promise<void> {
  await place(file, content, mode, (temporary) => rename(temporary, file));
}

/** Removes what a crash may have left beside `file` as it was put in place: the same content under another name. */
export async function removeLeftover(file: string): Promise<void> {
  await rm(temporaryOf(file), { force: true });
}

/** One fixed name, so that a crash leaves at most one behind; one server holds the directory at a time. */
function temporaryOf(file: string): string {
  return `${file}.tmp`;
}

async function place(
  file: string,
  content: string,
  mode: number,
  move: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryOf(file);
  try {
    await removeLeftover(file);
    await writeDurably(temporary, content, mode);
    await move(temporary);
    await syncDirectory(dirname(file));
  } catch (cause) {
    await rm(temporary, { force: true });
    throw writeError(file, cause);
  }
}

async function writeDurably(file: string, content: string, mode: number): Promise<void> {
  const handle = await open(file, 'wx', mode);
  try {
    // The process's umask narrows the mode that open was given.
    await handle.chmod(mode);
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function writeError(file: string, cause: unknown): FairleadError {
  const code = codeOf(cause);
  if (code === 'EEXIST') return new FairleadError('CONFLICT', `${file} is there already and is not overwritten`);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FairleadError('STORE_FULL', `${file} cannot be written: the disk is full`, { cause });
  }
  return new FairleadError('STORE_UNAVAILABLE', `${file} cannot be written (${code})`, { cause });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}
