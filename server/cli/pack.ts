/** Packs a file or a directory of this machine as a tar, read as it is asked for. */
import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type Pack, pack } from 'tar-stream';
import { CliError, systemCode } from './errors.ts';

/** Directories below one another. */
const MAX_DEPTH = 256;

export interface PackOptions {
  /** What the file or directory is called in the tar; empty: what is in the directory is at the top. */
  readonly name: string;
  /** Is told what is left out: what is neither file, directory nor symbolic link. */
  readonly warn: (text: string) => void;
}

/** A tar of what is at `path`, a link followed. It fails with a CliError for what cannot be read. */
export function packPath(path: string, options: PackOptions): Readable {
  const tar = pack();
  const output = Readable.from(tar, { objectMode: false });
  output.once('close', () => tar.destroy());
  const work = async () => {
    const { name, warn } = options;
    await add(tar, { path, name, warn, isRoot: true, depth: 0 });
    tar.finalize();
  };
  work().catch((error: unknown) => output.destroy(explained(error)));
  return output;
}

interface Added extends PackOptions {
  readonly path: string;
  readonly isRoot: boolean;
  readonly depth: number;
}

async function add(tar: Pack, { path, name, warn, isRoot, depth }: Added): Promise<void> {
  if (depth > MAX_DEPTH) throw new CliError(`${path} has too many directories above it`);
  const facts = isRoot ? await stat(path) : await lstat(path);
  // It is not this machine's users that own files there.
  const header = { name, mode: facts.mode & 0o7777, mtime: facts.mtime, uid: 0, gid: 0 };
  if (facts.isDirectory()) {
    if (name !== '') await written(tar, { ...header, type: 'directory' });
    for (const child of (await readdir(path)).sort()) {
      const below = name === '' ? child : `${name}/${child}`;
      await add(tar, { path: join(path, child), name: below, warn, isRoot: false, depth: depth + 1 });
    }
  } else if (facts.isSymbolicLink()) {
    await written(tar, { ...header, type: 'symlink', linkname: await readlink(path) });
  } else if (facts.isFile()) {
    await addFile(tar, { ...header, size: facts.size }, path);
  } else {
    warn(`left out: ${path} is no file, directory or symbolic link`);
  }
}

function written(tar: Pack, header: Parameters<Pack['entry']>[0]): Promise<void> {
  return new Promise((resolve, reject) => {
    tar.entry(header, '', (error) => (error ? reject(error) : resolve()));
  });
}

/** As many bytes as the file had when it was looked at. */
async function addFile(
  tar: Pack,
  header: Parameters<Pack['entry']>[0] & { size: number },
  path: string,
): Promise<void> {
  if (header.size === 0) return await written(tar, header);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const entry = tar.entry(header, (error) => (error ? reject(error) : resolve()));
  let left = header.size;
  for await (const chunk of createReadStream(path, { end: header.size - 1 }) as AsyncIterable<Buffer>) {
    left -= chunk.byteLength;
    if (!entry.write(chunk)) await new Promise((drained) => entry.once('drain', drained));
  }
  if (left > 0) throw new CliError(`${path} became shorter while it was read`);
  entry.end();
  await promise;
}

function explained(error: unknown): Error {
  if (error instanceof CliError) return error;
  const { path } = error as NodeJS.ErrnoException;
  return new CliError(
    path === undefined ? `cannot pack: ${String(error)}` : `cannot read ${path} (${systemCode(error)})`,
    {
      cause: error,
    },
  );
}
