/** Packages of Node for one platform, which npm fetches: each must be the pinned one. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';

/** What npm may take for an archive of some 60 MB. */
const PACK_MS = 300_000;

export interface PinnedPackage {
  readonly name: string;
  readonly version: string;
  /** Of the package's archive, in the form of lock files. */
  readonly integrity: string;
}

/** The archive of a package as npm gives it, from its cache if it is there. @throws Error if it is not the pinned one */
export async function fetchPackage({ name, version, integrity }: PinnedPackage): Promise<Buffer> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-node-'));
  try {
    const spec = `${name}@${version}`;
    const args = ['pack', spec, '--silent', '--prefer-offline', '--pack-destination', dir];
    await promisify(execFile)('npm', args, { timeout: PACK_MS });
    const archive = await readFile(join(dir, `${name}-${version}.tgz`));
    const found = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
    if (found !== integrity) throw new Error(`the package ${spec} is not the pinned one: its integrity is ${found}`);
    return archive;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** One file out of the archive of a package. @throws Error if it is not there, or larger than `maxBytes` */
export async function fileOf(archive: Buffer, path: string, maxBytes: number): Promise<Buffer> {
  const entries = extract();
  const chunks: Buffer[] = [];
  let bytes = 0;
  entries.on('entry', (header, content, next) => {
    content.on('data', (chunk: Buffer) => {
      if (header.name !== `package/${path}`) return;
      bytes += chunk.byteLength;
      if (bytes > maxBytes) entries.destroy(new Error(`${path} in a package is larger than ${maxBytes} bytes`));
      else chunks.push(chunk);
    });
    content.on('end', next);
  });
  await pipeline(Readable.from([archive]), createGunzip(), entries);
  if (bytes === 0) throw new Error(`there is no ${path} in the package`);
  return Buffer.concat(chunks);
}
