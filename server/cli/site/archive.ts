/** Writes a site archive: the same files make the same bytes, whoever packs them, wherever and whenever. */
import { createHash, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { SiteFacts } from '../../../shared/site.ts';
import { CliError } from '../errors.ts';
import type { SiteFile } from './contents.ts';
import { formatSums, SIGNATURE_FILE, SUMS_FILE, signSums } from './sums.ts';
import { END, encodeHeader, foldersToState, order, paddingOf } from './tar-blocks.ts';

const GZIP_LEVEL = 6;

export interface ArchiveOptions {
  /** Signs the checksums; absent: they are not signed. */
  readonly privateKey?: KeyObject;
  readonly gzipLevel?: number;
}

/** The folder in the archive, and the archive's name without its ending. */
export function siteName({ version, os, arch }: SiteFacts): string {
  return `fairlead-site-${version}-${os}-${arch}`;
}

/** The bytes of an archive of `files`, below the folder `name`. It fails as reading the files does. */
export async function siteArchive(
  name: string,
  files: readonly SiteFile[],
  options: ArchiveOptions = {},
): Promise<Readable> {
  const sorted = files.toSorted((a, b) => order(a.path, b.path));
  const sums = new Map<string, string>();
  for (const { path, source } of sorted) sums.set(path, await sha256Of(source));
  const text = formatSums(sums);
  const all = [...sorted, { path: SUMS_FILE, source: Buffer.from(text), executable: false }];
  if (options.privateKey !== undefined) {
    const signature = Buffer.from(signSums(text, options.privateKey));
    all.push({ path: SIGNATURE_FILE, source: signature, executable: false });
  }
  const output = createGzip({ level: options.gzipLevel ?? GZIP_LEVEL });
  const sortedWithSums = all.sort((a, b) => order(a.path, b.path));
  pipeline(tarOf(name, sortedWithSums), output).catch((error: Error) => output.destroy(error));
  return output;
}

async function sha256Of(source: SiteFile['source']): Promise<string> {
  const hash = createHash('sha256');
  if (typeof source === 'string') await pipeline(createReadStream(source), hash);
  else hash.update(source);
  return hash.digest('hex');
}

async function* tarOf(name: string, files: readonly SiteFile[]): AsyncGenerator<Uint8Array> {
  const stated = new Set<string>();
  for (const { path: below, source, executable } of files) {
    const path = posix.join(name, below);
    for (const folder of foldersToState(path, stated)) {
      yield encodeHeader({ path: folder, isFolder: true, executable: false, size: 0 });
    }
    const size = typeof source === 'string' ? (await stat(source)).size : source.byteLength;
    yield encodeHeader({ path, isFolder: false, executable, size });
    let left = size;
    for await (const chunk of typeof source === 'string' ? createReadStream(source) : [source]) {
      left -= chunk.byteLength;
      yield chunk;
    }
    if (left !== 0) throw new CliError(`${path} has changed while it was read`);
    yield Buffer.alloc(paddingOf(size));
  }
  yield END;
}
