/** Reads a backup file from its beginning to its end, and believes nothing before it is proven. */
import { createReadStream } from 'node:fs';
import { FairleadError } from '../../shared/errors.ts';
import { ByteReader } from './byte-reader.ts';
import { deriveKey, HEADER_BYTES, type KeyRecipe, readHeader } from './header.ts';
import { type Manifest, type Part, readManifest, readPart } from './manifest.ts';
import { CHUNK_BYTES, openStream } from './sealed-stream.ts';

/** What is done with what is read. */
export interface BackupVisitor {
  /** Comes first. */
  manifest?(manifest: Manifest): Promise<void> | void;
  /** Comes once for each part, in order; must read `bytes` to the end. */
  part?(part: Part, bytes: AsyncIterable<Buffer>): Promise<void>;
}

type KeyFor = (recipe: KeyRecipe) => Promise<Buffer>;

/**
 * Reads `file` through. When it returns, every byte of it was proven to be there and to be the one that was written;
 * what the visitor was given before was authentic, too, but maybe not all.
 * @param keyFor the key that the header asks for
 * @throws FairleadError VALIDATION in one sentence; NOT_FOUND if there is no such file
 */
export async function readBackup(file: string, keyFor: KeyFor, visitor: BackupVisitor = {}): Promise<Manifest> {
  return await withContent(file, keyFor, async (manifest, content) => {
    await visitor.manifest?.(manifest);
    for (const part of manifest.parts) {
      const chunks = readPart(content, part);
      await visitor.part?.(part, chunks);
      for await (const _ of chunks); // whatever nobody wanted is verified all the same
    }
    await content.end();
    return manifest;
  });
}

/** What a backup says of itself; the rest of it is not looked at. @throws FairleadError as `readBackup` */
export async function readManifestOf(file: string, keyFor: KeyFor): Promise<Manifest> {
  return await withContent(file, keyFor, async (manifest) => manifest);
}

/** As `readBackup`, with the passphrase. */
export async function readBackupWith(file: string, passphrase: string, visitor?: BackupVisitor): Promise<Manifest> {
  return await readBackup(file, (recipe) => deriveKey(passphrase, recipe), visitor);
}

async function withContent<T>(
  file: string,
  keyFor: KeyFor,
  use: (manifest: Manifest, content: ByteReader) => Promise<T>,
): Promise<T> {
  const bytes = createReadStream(file, { highWaterMark: CHUNK_BYTES });
  try {
    const sealed = new ByteReader(bytes);
    const header = await sealed.upTo(HEADER_BYTES);
    const key = await keyFor(readHeader(header));
    const content = new ByteReader(openStream(key, header, sealed.rest()));
    return await use(await readManifest(content), content);
  } catch (error) {
    throw isErrno(error) && (error.path === file || error.syscall === 'read') ? notReadable(file, error) : error;
  } finally {
    bytes.destroy();
  }
}

function notReadable(file: string, cause: NodeJS.ErrnoException): FairleadError {
  if (cause.code === 'ENOENT') return new FairleadError('NOT_FOUND', `there is no file ${file}`, { cause });
  return new FairleadError('VALIDATION', `${file} cannot be read (${cause.code})`, { cause });
}

function isErrno(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && 'code' in error;
}
