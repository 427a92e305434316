/** Takes in the compressed executable of a release, unpacking it on the way: only what was signed stays. */
import { createHash } from 'node:crypto';
import { type FileHandle, open, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { maxCompressedBytes, type SignedRelease } from '../../shared/releases/release.ts';
import { COMPRESSED, EXECUTABLE } from './release-folder.ts';

/** What stays free for the store, which lives on the same disk. */
const RESERVE_BYTES = 64 * 1024 * 1024;

/**
 * Writes `source`, the executable by gzip, into `folder` as it came and unpacked.
 * @returns the size of the compressed one
 * @throws FairleadError RELEASE_INVALID if it is not what was signed, STORE_FULL, the signal's reason
 */
export async function receiveExecutable(
  source: Readable,
  folder: string,
  signed: SignedRelease,
  signal: AbortSignal,
): Promise<number> {
  await requireRoom(folder, signed);
  const files = await openBoth(folder);
  try {
    const { compressed, bytes, sha256 } = await unpack(source, files, signed, signal);
    requireSigned(bytes, sha256, signed);
    for (const file of Object.values(files)) await file.sync();
    return compressed;
  } catch (error) {
    signal.throwIfAborted();
    throw explained(error);
  } finally {
    for (const file of Object.values(files)) await file.close();
  }
}

interface Files {
  readonly compressed: FileHandle;
  readonly executable: FileHandle;
}

async function openBoth(folder: string): Promise<Files> {
  const compressed = await open(join(folder, COMPRESSED), 'wx', 0o644);
  try {
    return { compressed, executable: await open(join(folder, EXECUTABLE), 'wx', 0o755) };
  } catch (error) {
    await compressed.close();
    throw error;
  }
}

/** Writes both forms, and ends as soon as one is larger than it may be. */
async function unpack(
  source: Readable,
  files: Files,
  signed: SignedRelease,
  signal: AbortSignal,
): Promise<{ compressed: number; bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let compressed = 0;
  let bytes = 0;
  await pipeline(
    source,
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        compressed += chunk.length;
        requireAtMost(compressed, maxCompressedBytes(signed.bytes), 'what was sent');
        await append(files.compressed, chunk);
        yield chunk;
      }
    },
    createGunzip(),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        requireAtMost(bytes, signed.bytes, 'the executable');
        hash.update(chunk);
        await append(files.executable, chunk);
      }
    },
    { signal },
  );
  return { compressed, bytes, sha256: hash.digest('hex') };
}

/** At the end of the file, all of it. */
async function append(file: FileHandle, chunk: Buffer): Promise<void> {
  await file.writeFile(chunk);
}

/** @throws FairleadError STORE_FULL */
async function requireRoom(folder: string, { bytes }: SignedRelease): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const needed = bytes + maxCompressedBytes(bytes) + RESERVE_BYTES;
  const free = bavail * bsize;
  if (free < needed) {
    throw new FairleadError(
      'STORE_FULL',
      `the executable takes up to ${needed} bytes of the disk, which has ${free} free`,
    );
  }
}

function requireAtMost(bytes: number, most: number, what: string): void {
  if (bytes > most) throw new FairleadError('RELEASE_INVALID', `${what} has more than the ${most} bytes it may have`);
}

function requireSigned(bytes: number, sha256: string, signed: SignedRelease): void {
  if (bytes !== signed.bytes) {
    throw new FairleadError('RELEASE_INVALID', `the executable has ${bytes} bytes, and ${signed.bytes} were signed`);
  }
  if (sha256 !== signed.sha256) {
    throw new FairleadError(
      'RELEASE_INVALID',
      `the executable has the SHA-256 ${sha256}, and ${signed.sha256} was signed`,
    );
  }
}

/** What the pipeline failed with, as one of ours where it is foreseen. */
function explained(error: unknown): unknown {
  if (isFairleadError(error)) return error;
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code.startsWith('Z_')) {
    return new FairleadError('RELEASE_INVALID', 'what was sent is no executable packed by gzip, or not all of it', {
      cause: error,
    });
  }
  // The pipeline's own: what unpacks had come to an end, and there was more.
  if (code === 'ABORT_ERR') {
    return new FairleadError('RELEASE_INVALID', 'what was sent goes on behind the executable', { cause: error });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FairleadError('STORE_FULL', 'the disk is full: nothing of the executable was kept', { cause: error });
  }
  if (code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE') {
    return new FairleadError('CANCELLED', 'the executable broke off on its way: send it again', { cause: error });
  }
  return error;
}
