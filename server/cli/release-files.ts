/** Executables of the agent as `npm run build:agent` leaves them, `<dir>/<os>/<arch>/`, and the signatures beside them. */
import { createHash, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { FairleadError } from '../../shared/errors.ts';
import { BuildFacts, MAX_EXECUTABLE_BYTES, maxCompressedBytes, SignedRelease } from '../../shared/releases/release.ts';
import { type ReleaseKeys, readReleaseKeys, verifyRelease } from '../../shared/releases/signature.ts';
import { validate } from '../../shared/validate.ts';
import { CliError, systemCode } from './errors.ts';

const NAME = 'fairlead-agent';
const MAX_JSON_BYTES = 64 * 1024;

/** What a build has made for one platform. */
export interface BuiltPlatform {
  /** The folder of the platform. */
  readonly dir: string;
  readonly facts: BuildFacts;
}

/** One that is signed. */
export interface SignedPlatform extends BuiltPlatform {
  readonly signed: SignedRelease;
}

export function signatureFile({ dir }: BuiltPlatform): string {
  return join(dir, `${NAME}.sig`);
}

/** The compressed executable. */
export function compressedFile({ dir }: BuiltPlatform): string {
  return join(dir, `${NAME}.gz`);
}

/** All platforms in a folder, of one version. @throws CliError */
export async function readBuild(root: string): Promise<BuiltPlatform[]> {
  const found: BuiltPlatform[] = [];
  for (const os of await foldersIn(root)) {
    for (const arch of await foldersIn(join(root, os))) {
      const dir = join(root, os, arch);
      const facts = await readJson(join(dir, `${NAME}.json`), BuildFacts, 'what the build says of it');
      if (facts === undefined) continue;
      if (facts.os !== os || facts.arch !== arch) {
        throw new CliError(`${dir} holds an executable for ${facts.os}/${facts.arch}: it is in the wrong folder`);
      }
      found.push({ dir, facts });
    }
  }
  const [first] = found;
  if (first === undefined) {
    throw new CliError(
      `there is no ${NAME}.json in ${join(root, '<os>', '<arch>')}: give the folder that build:agent wrote`,
    );
  }
  const versions = new Set(found.map(({ facts }) => facts.version));
  if (versions.size === 1) return found;
  throw new CliError(`${root} holds executables of several versions (${[...versions].join(', ')}): build them anew`);
}

/** All platforms in a folder with their signatures, which are of one release. @throws CliError */
export async function readSigned(root: string): Promise<SignedPlatform[]> {
  const signed: SignedPlatform[] = [];
  for (const built of await readBuild(root)) {
    const release = await readSignature(built);
    if (release === undefined) throw new CliError(`${built.dir} is not signed: run fairlead release sign first`);
    signed.push({ ...built, signed: release });
  }
  const sequences = new Set(signed.map((each) => each.signed.sequence));
  if (sequences.size === 1) return signed;
  throw new CliError(
    `${root} is signed with several sequences (${[...sequences].join(', ')}): sign all of it once more`,
  );
}

/** The signature beside an executable; undefined if there is none. @throws CliError, FairleadError RELEASE_INVALID */
export async function readSignature(built: BuiltPlatform): Promise<SignedRelease | undefined> {
  return await readJson(signatureFile(built), SignedRelease, 'its signature');
}

/** That the executable is what the build says of it. @throws FairleadError RELEASE_INVALID, CliError */
export async function checkExecutable({ dir, facts }: BuiltPlatform): Promise<void> {
  const file = join(dir, NAME);
  requireSame(file, await digest(file), facts);
}

/**
 * That executable, compressed executable and signature belong together, and that one of `keys` has signed.
 * @param keys undefined: whoever has signed
 * @throws FairleadError RELEASE_INVALID, CliError
 */
export async function checkSigned(platform: SignedPlatform, keys: ReleaseKeys | undefined): Promise<void> {
  const { facts, signed, dir } = platform;
  if (keys !== undefined) verifyRelease(signed, keys);
  for (const name of ['version', 'os', 'arch', 'bytes', 'sha256'] as const) {
    if (signed[name] === facts[name]) continue;
    const detail = `the ${name} that was signed in ${dir} is ${signed[name]}, and the build says ${facts[name]}`;
    throw new FairleadError('RELEASE_INVALID', detail);
  }
  await checkExecutable(platform);
  const file = compressedFile(platform);
  if ((await plainBytes(file)) > maxCompressedBytes(facts.bytes)) {
    throw new FairleadError('RELEASE_INVALID', `${file} is larger than what it is the compressed form of`);
  }
  requireSame(file, await digest(file, createGunzip()), facts);
}

/** The keys in files that a command line names. @throws CliError, FairleadError VALIDATION */
export async function readKeyFiles(files: readonly string[]): Promise<ReleaseKeys> {
  const keys = new Map<string, KeyObject>();
  for (const file of files) {
    const found = readReleaseKeys(await readSmall(file, 'the release key'), file);
    if (found.size === 0) throw new CliError(`${file} holds no public key for releases`);
    for (const [id, key] of found) keys.set(id, key);
  }
  return keys;
}

async function foldersIn(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    return entries
      .filter((each) => each.isDirectory())
      .map(({ name }) => name)
      .sort();
  } catch (cause) {
    throw new CliError(`cannot read ${dir} (${systemCode(cause)})`, { cause });
  }
}

async function readJson<S extends typeof BuildFacts | typeof SignedRelease>(file: string, schema: S, what: string) {
  let text: string;
  try {
    await plainBytes(file);
    text = await readSmall(file, what);
  } catch (error) {
    if (systemCode((error as CliError).cause) === 'ENOENT') return undefined;
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FairleadError('RELEASE_INVALID', `${file} is no JSON`, { cause });
  }
  return validate(schema, value, file, 'RELEASE_INVALID');
}

async function readSmall(file: string, what: string): Promise<string> {
  try {
    if ((await stat(file)).size > MAX_JSON_BYTES) throw new CliError(`${file} is too large to be ${what}`);
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw cause instanceof CliError ? cause : unreadable(file, cause);
  }
}

/** How large a file is that ends, as pipes and devices do not. @throws CliError */
async function plainBytes(file: string): Promise<number> {
  const facts = await stat(file).catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  if (!facts.isFile()) throw new CliError(`${file} is no plain file`);
  return facts.size;
}

/**
 * Of what is in a file, or of what `unpack` makes of that. Reads no further than any executable goes.
 * @throws CliError, FairleadError RELEASE_INVALID
 */
async function digest(file: string, ...unpack: readonly Transform[]): Promise<{ bytes: number; sha256: string }> {
  await plainBytes(file);
  const hash = createHash('sha256');
  let bytes = 0;
  const sink = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > MAX_EXECUTABLE_BYTES)
        throw new FairleadError('RELEASE_INVALID', `${file} is larger than any executable`);
      hash.update(chunk);
    }
  };
  try {
    await pipeline([createReadStream(file), ...unpack, sink]);
  } catch (cause) {
    throw cause instanceof FairleadError ? cause : unreadable(file, cause);
  }
  return { bytes, sha256: hash.digest('hex') };
}

function requireSame(file: string, found: { bytes: number; sha256: string }, facts: BuildFacts): void {
  if (found.bytes === facts.bytes && found.sha256 === facts.sha256) return;
  throw new FairleadError(
    'RELEASE_INVALID',
    `${file} is not what was built: it has ${found.bytes} bytes and the SHA-256 ${found.sha256}, and should have ` +
      `${facts.bytes} and ${facts.sha256}`,
  );
}

function unreadable(file: string, cause: unknown): CliError {
  return new CliError(`cannot read ${file} (${systemCode(cause) ?? String(cause)})`, { cause });
}
