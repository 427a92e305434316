/** A file that is written from a stream and is there whole, or not at all. */
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { access, constants, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDirectory } from '../../shared/atomic-file.ts';
import { FairleadError } from '../../shared/errors.ts';
import { CliError, systemCode } from './errors.ts';
import type { CliIo } from './io.ts';

export interface WholeFile<T> {
  readonly bytes: number;
  readonly sha256: string;
  /** What `check` returned. */
  readonly checked: T;
}

/** @throws CliError if `file` cannot be written: it is there already, or its directory is not */
export async function requireWritable(file: string, force: boolean): Promise<void> {
  if (!force && existsSync(file)) throw new CliError(`${file} is there already: --force overwrites it`);
  try {
    await access(dirname(file), constants.W_OK);
  } catch (error) {
    throw new CliError(`cannot write ${file} (${systemCode(error)})`, { cause: error });
  }
}

/**
 * Writes `body` to `file` (mode 0600), by way of `file.tmp`, which never outlives this but for a kill -9; the next run
 * removes it then.
 * @param check looks at what was written before it takes its name; if it throws, nothing is left
 */
export async function writeWhole<T>(
  file: string,
  body: AsyncIterable<Uint8Array>,
  { force, io, check }: { force: boolean; io: CliIo; check: (written: string) => Promise<T> },
): Promise<WholeFile<T>> {
  const temporary = `${file}.tmp`;
  const forget = io.onKill(() => rmSync(temporary, { force: true }));
  try {
    const written = await writeTemporary(temporary, body);
    const checked = await check(temporary);
    await requireWritable(file, force);
    await rename(temporary, file);
    await syncDirectory(dirname(file));
    return { ...written, checked };
  } catch (error) {
    await rm(temporary, { force: true });
    throw explain(file, error);
  } finally {
    forget();
  }
}

async function writeTemporary(
  temporary: string,
  body: AsyncIterable<Uint8Array>,
): Promise<{ bytes: number; sha256: string }> {
  await rm(temporary, { force: true });
  const handle = await open(temporary, 'wx', 0o600);
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of body) {
      await handle.writeFile(chunk);
      hash.update(chunk);
      bytes += chunk.length;
    }
    await handle.sync();
    return { bytes, sha256: hash.digest('hex') };
  } finally {
    await handle.close();
  }
}

function explain(file: string, error: unknown): unknown {
  if (error instanceof FairleadError || error instanceof CliError) return error;
  const code = systemCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new CliError(`the disk under ${file} is full: nothing was written, free some space`, { cause: error });
  }
  const isOfFiles = error instanceof Error && 'syscall' in error && code !== 'ECONNRESET';
  return isOfFiles ? new CliError(`cannot write ${file} (${code})`, { cause: error }) : error;
}
