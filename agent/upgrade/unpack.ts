/** From what was downloaded to an executable that is, byte for byte, the one that was signed. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { syncDirectory } from '../../shared/atomic-file.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Release } from '../../shared/releases/release.ts';
import { ofDisk } from './download.ts';

const MODE = 0o755;

/**
 * Unpacks `part` into a new file `next`, never more of it than the release has, and compares it with what was signed while
 * it is written: the file is there, whole and durable, only if it is that.
 * @throws FairleadError RELEASE_INVALID, CONFLICT when the disk has no room, or the signal's reason
 */
export async function unpack(
  part: string,
  next: string,
  release: Pick<Release, 'bytes' | 'sha256' | 'version'>,
  signal: AbortSignal,
): Promise<void> {
  await rm(next, { force: true });
  try {
    const file = await open(next, 'wx', 0o600);
    try {
      await write(part, file, release, signal);
      await file.chmod(MODE);
      await file.sync();
    } finally {
      // Before it is started: a file that is open for writing is not.
      await file.close();
    }
    await syncDirectory(dirname(next));
  } catch (error) {
    await rm(next, { force: true });
    throw signal.aborted ? signal.reason : ofUnpacking(error, next);
  }
}

async function write(
  part: string,
  file: FileHandle,
  { bytes, sha256, version }: Pick<Release, 'bytes' | 'sha256' | 'version'>,
  signal: AbortSignal,
): Promise<void> {
  const hash = createHash('sha256');
  let written = 0;
  const sink = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      written += chunk.byteLength;
      if (written > bytes)
        throw invalid(`what is unpacked of ${version} is more than the ${bytes} bytes that were signed`);
      hash.update(chunk);
      await file.writeFile(chunk);
    }
  };
  await pipeline(createReadStream(part), createGunzip(), sink, { signal });
  if (written !== bytes) throw invalid(`what is unpacked of ${version} has ${written} bytes, and ${bytes} were signed`);
  const found = hash.digest('hex');
  if (found !== sha256)
    throw invalid(`what was downloaded of ${version} has the sha256 ${found}, and ${sha256} was signed`);
}

function ofUnpacking(error: unknown, next: string): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  // As zlib names what is no gzip, or damaged, or cut off.
  if (code.startsWith('Z_')) return invalid(`what was downloaded cannot be unpacked (${code})`, error);
  return ofDisk(error, dirname(next));
}

function invalid(text: string, cause?: unknown): FairleadError {
  return new FairleadError('RELEASE_INVALID', text, { cause });
}
