/** Releases of the agent for tests: small "executables" of a made-up build, signed by a key of the test's own. */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { SignedRelease } from '../../shared/releases/release.ts';
import { signRelease } from '../../shared/releases/signature.ts';

export interface TestRelease {
  readonly signed: SignedRelease;
  readonly executable: Buffer;
  /** The executable by gzip. */
  readonly compressed: Buffer;
}

export interface TestReleaseOptions {
  readonly version?: string;
  readonly sequence?: number;
  readonly os?: string;
  readonly arch?: string;
  readonly downgrade?: true;
  readonly bytes?: number;
  readonly key?: KeyObject;
}

const OWN = generateKeyPairSync('ed25519');
/** By which releases are signed unless another one is given. */
export const RELEASE_KEY = OWN.publicKey;

/** An executable that nothing packs well, so that it is as large on its way. */
export function testRelease(options: TestReleaseOptions = {}): TestRelease {
  const { version = '0.2.0', sequence = 1, os = 'linux', arch = 'x64', downgrade, key = OWN.privateKey } = options;
  const executable = randomBytes(options.bytes ?? 100_000);
  const sha256 = createHash('sha256').update(executable).digest('hex');
  const facts = { version, sequence, os, arch, bytes: executable.length, sha256 };
  const signed = signRelease({ ...facts, ...(downgrade === undefined ? {} : { downgrade }) }, key);
  return { signed, executable, compressed: gzipSync(executable) };
}

/** Writes what a build leaves of `release`, without its signature. @returns the folder of its platform */
export async function writeBuild(root: string, { signed, executable, compressed }: TestRelease): Promise<string> {
  const { version, os, arch, bytes, sha256 } = signed;
  const dir = join(root, os, arch);
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'fairlead-agent'), executable, { mode: 0o755 });
  await writeFile(join(dir, 'fairlead-agent.gz'), compressed);
  await writeFile(join(dir, 'fairlead-agent.sha256'), `${sha256}  fairlead-agent\n`);
  await writeFile(join(dir, 'fairlead-agent.json'), JSON.stringify({ version, os, arch, bytes, sha256 }));
  return dir;
}
