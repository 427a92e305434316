/** Files that flags name: read, or only looked at; what is wrong with one is told by its flag. */
import { access, constants, open, stat } from 'node:fs/promises';
import { FairleadError } from '../shared/errors.ts';

/** Larger files are neither passphrases nor certificates. */
const MAX_FILE_BYTES = 256 * 1024;

/** The text of a file that a flag names. @throws FairleadError VALIDATION */
export async function readSmallFile(name: string, path: string): Promise<string> {
  try {
    const handle = await open(path, 'r');
    try {
      const { size } = await handle.stat();
      if (size > MAX_FILE_BYTES) throw invalid(`${name}: ${path} is larger than ${MAX_FILE_BYTES} bytes`);
      return await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw cause instanceof FairleadError ? cause : unreadable(name, path, cause);
  }
}

/** @throws FairleadError VALIDATION */
export async function requireReadable(name: string, path: string): Promise<void> {
  try {
    await access(path, constants.R_OK);
  } catch (cause) {
    throw unreadable(name, path, cause);
  }
}

/** @throws FairleadError VALIDATION */
export async function requireFolder(name: string, path: string): Promise<void> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    (cause: unknown) => {
      throw unreadable(name, path, cause);
    },
  );
  if (!isFolder) throw invalid(`${name}: ${path} is no folder`);
}

function unreadable(name: string, path: string, cause: unknown): FairleadError {
  const why = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
  return new FairleadError('VALIDATION', `${name}: ${path} cannot be read (${why})`, { cause });
}

/** What `parse` makes of what stands in a file. @throws FairleadError VALIDATION */
export function parsePem<T>(name: string, path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new FairleadError('VALIDATION', `${name}: ${path} does not hold ${what}`, { cause });
  }
}

/** The error for flags that cannot be taken. */
export function invalid(message: string): FairleadError {
  return new FairleadError('VALIDATION', message);
}
