/** One site archive for servers of one platform, of a checkout whose bundles are built. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type ArchiveOptions, siteArchive, siteName } from '../../server/cli/site/archive.ts';
import { checkSite } from '../../server/cli/site/check.ts';
import { siteFiles } from '../../server/cli/site/contents.ts';
import { keyIdOf, type ReleaseKeys } from '../../shared/releases/signature.ts';
import type { SiteFacts } from '../../shared/site.ts';
import { VERSION } from '../../shared/version.ts';
import { ROOT } from './bundling.ts';
import { NODE_VERSION, nodeBinary, type Target } from './node-binary.ts';
import { stripElf } from './strip-elf.ts';

export interface SiteOptions extends ArchiveOptions {
  /** A folder that `buildExecutables` has written. */
  readonly agentFiles: string;
  readonly outDir: string;
}

/** @returns the archive's path; it was read back and is whole @throws Error, or CliError for what is not there */
export async function makeSite(target: Target, { agentFiles, outDir, ...how }: SiteOptions): Promise<string> {
  const [os = '', arch = ''] = target.split('-');
  const facts: SiteFacts = { version: VERSION, os, arch, node: NODE_VERSION };
  const node = stripElf(await nodeBinary(target));
  const files = await siteFiles({ facts, installation: ROOT, node, agentFiles });
  const file = join(outDir, `${siteName(facts)}.tar.gz`);
  const unfinished = `${file}.${process.pid}`;
  try {
    await pipeline(await siteArchive(siteName(facts), files, how), createWriteStream(unfinished));
    await checkSite(unfinished, how.privateKey && keysOf(how.privateKey));
    await rename(unfinished, file);
  } finally {
    await rm(unfinished, { force: true });
  }
  return file;
}

/** What the archive, and the agents in it, must be signed by. */
function keysOf(privateKey: KeyObject): ReleaseKeys {
  const publicKey = createPublicKey(privateKey);
  return new Map([[keyIdOf(publicKey), publicKey]]);
}
