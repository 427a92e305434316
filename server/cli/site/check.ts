/** Checks a site archive, packed or unpacked, to its last byte: every file by its checksum, and nothing in it but those. */
import { stat } from 'node:fs/promises';
import type { TSchema } from 'typebox';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { BuildFacts, SignedRelease } from '../../../shared/releases/release.ts';
import { type ReleaseKeys, verifyRelease } from '../../../shared/releases/signature.ts';
import { SITE_FILE, SiteFacts } from '../../../shared/site.ts';
import { validate } from '../../../shared/validate.ts';
import { CliError, systemCode } from '../errors.ts';
import { siteName } from './archive.ts';
import type { Found } from './found.ts';
import { readArchive } from './read-archive.ts';
import { readFolder } from './read-folder.ts';
import { parseSums, SIGNATURE_FILE, SUMS_FILE, verifySums } from './sums.ts';

const AGENT = /^agent-files\/([a-z0-9]+)\/([a-z0-9]+)\/fairlead-agent$/;

/** An executable of the agent in an archive. */
export interface AgentInSite {
  readonly os: string;
  readonly arch: string;
  readonly version: string;
  /** Of its release, if that is signed. */
  readonly sequence?: number;
}

export interface SiteCheck {
  readonly facts: SiteFacts;
  readonly files: number;
  /** Uncompressed. */
  readonly bytes: number;
  readonly agents: readonly AgentInSite[];
  /** The key that has signed the checksums, if keys were given. */
  readonly signedBy?: string;
}

/**
 * @param path an archive, or the folder that one was unpacked to
 * @param keys those that checksums and agents must be signed by; absent: signatures are not looked at
 * @throws CliError for what is no whole archive, FairleadError RELEASE_INVALID for a signature
 */
export async function checkSite(path: string, keys?: ReleaseKeys): Promise<SiteCheck> {
  try {
    if ((await stat(path)).isDirectory()) return judge(await readFolder(path), keys);
    const { folder, found } = await readArchive(path);
    const checked = judge(found, keys);
    if (folder === siteName(checked.facts)) return checked;
    throw new Error(`its folder is called ${JSON.stringify(folder)}`);
  } catch (error) {
    if (isFairleadError(error, 'RELEASE_INVALID')) throw error;
    const why = systemCode(error) === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new CliError(`${path} is no whole site archive: ${why}`, { cause: error });
  }
}

function judge({ bytes, sums, kept }: Found, keys: ReleaseKeys | undefined): SiteCheck {
  const text = kept.get(SUMS_FILE);
  if (text === undefined) throw new Error(`there is no ${SUMS_FILE} in it`);
  const stated = parseSums(text);
  for (const [path, sha256] of stated) {
    const found = sums.get(path);
    if (found === undefined) throw new Error(`${path} is not in it`);
    if (found !== sha256) throw new Error(`${path} is not what ${SUMS_FILE} says`);
  }
  for (const path of sums.keys()) {
    if (!stated.has(path) && path !== SUMS_FILE && path !== SIGNATURE_FILE) {
      throw new Error(`${path} does not stand in ${SUMS_FILE}`);
    }
  }
  const facts = parsed(SiteFacts, kept, `server/lib/${SITE_FILE}`);
  const agents = [...sums.keys()]
    .flatMap((path) => AGENT.exec(path)?.[0] ?? [])
    .map((path) => agentOf(path, { sums, kept, keys }));
  const checked = { facts, files: sums.size, bytes, agents };
  if (keys === undefined) return checked;
  requireSignature(kept, SIGNATURE_FILE);
  return { ...checked, signedBy: verifySums(text, jsonOf(kept, SIGNATURE_FILE), keys) };
}

interface Known {
  readonly sums: ReadonlyMap<string, string>;
  readonly kept: ReadonlyMap<string, string>;
  readonly keys: ReleaseKeys | undefined;
}

function agentOf(path: string, { sums, kept, keys }: Known): AgentInSite {
  const { os, arch, version, sha256 } = parsed(BuildFacts, kept, `${path}.json`);
  const sha256Found = sums.get(path);
  if (sha256 !== sha256Found) throw new Error(`${path}.json is of another executable`);
  if (!path.startsWith(`agent-files/${os}/${arch}/`)) throw new Error(`${path} is for ${os}/${arch}`);
  if (keys === undefined && !kept.has(`${path}.sig`)) return { os, arch, version };
  requireSignature(kept, `${path}.sig`);
  const release = parsed(SignedRelease, kept, `${path}.sig`);
  if (release.sha256 !== sha256) throw new Error(`${path}.sig is of another executable`);
  if (keys !== undefined) verifyRelease(release, keys);
  return { os, arch, version, sequence: release.sequence };
}

/** Whole as it may be. @throws FairleadError RELEASE_INVALID */
function requireSignature(kept: ReadonlyMap<string, string>, path: string): void {
  if (!kept.has(path)) throw new FairleadError('RELEASE_INVALID', `it is not signed: ${path} is not in it`);
}

function parsed<S extends TSchema>(schema: S, kept: ReadonlyMap<string, string>, path: string) {
  return validate(schema, jsonOf(kept, path), path);
}

function jsonOf(kept: ReadonlyMap<string, string>, path: string): unknown {
  const text = kept.get(path);
  if (text === undefined) throw new Error(`${path} is not in it`);
  return JSON.parse(text);
}
