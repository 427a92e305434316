/** The state directory: what an enrolled agent is, in four files of which agent.json is written last. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import Type, { type Static } from 'typebox';
import { rootsIn } from '../../certs/trust.ts';
import { syncDirectory, writeFileAtomic } from '../../shared/atomic-file.ts';
import { FairleadError } from '../../shared/errors.ts';
import { validate } from '../../shared/validate.ts';
import { JOURNAL_FILE, RenewalJournal } from './renewal-journal.ts';

/** The contents of agent.json. Fields of other versions are not refused. */
export const AgentRecord = Type.Object({
  hostId: Type.String({ minLength: 1, maxLength: 64 }),
  name: Type.String({ minLength: 1, maxLength: 64 }),
  /** The API's URL, as it was given to enroll. */
  server: Type.String({ minLength: 1 }),
  /** Where `run` connects. */
  agentUrl: Type.String({ pattern: '^wss://' }),
  /** The pin of the root that is the server's current one, as far as this host knows. */
  caFingerprint: Type.String({ minLength: 1 }),
  enrolledAt: Type.String(),
  /** The host's own policy, see policy/policy.ts. The owner may edit these. */
  allow: Type.Optional(Type.Array(Type.String())),
  deny: Type.Optional(Type.Array(Type.String())),
});
export type AgentRecord = Static<typeof AgentRecord>;

/** Fields of agent.json that this version does not know: another version's, or slips of the pen. */
export function unknownFields(record: AgentRecord): string[] {
  return Object.keys(record).filter((name) => !Object.hasOwn(AgentRecord.properties, name));
}

/** Everything `run` needs to prove who this host is. */
export interface Identity {
  readonly record: AgentRecord;
  readonly keyPem: string;
  readonly certPem: string;
  /** The roots that are trusted: one, or two while the server changes its CA. */
  readonly caPem: string;
  readonly certificate: X509Certificate;
}

export const KEY_FILE = 'key.pem';
export const CERT_FILE = 'cert.pem';
const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;
/** Which the owner may edit. */
export const RECORD_FILE = 'agent.json';
const FILES = {
  record: RECORD_FILE,
  key: KEY_FILE,
  cert: CERT_FILE,
  ca: 'ca.pem',
  pending: 'pending.json',
  journal: JOURNAL_FILE,
} as const;
/** What is known of upgrades, see upgrade/journal.ts: no part of an identity, but gone with it. */
export const UPGRADE_FILE = 'upgrade.json';
const IDENTITY_FILES: ReadonlySet<string> = new Set(Object.values(FILES));
const OUR_FILES: ReadonlySet<string> = new Set([
  ...IDENTITY_FILES,
  'run.json',
  UPGRADE_FILE,
  'compose',
  'volumes',
  'execs',
]);
/** As atomic-file.ts names its temporary files. */
const LEFTOVER = /^(.+)\.[0-9a-f]{12}\.tmp$/;

/** A key that was made for a token and whose certificate may already be issued; kept until the answer is stored. */
export const PendingKey = Type.Object({
  tokenId: Type.String({ minLength: 1 }),
  keyPem: Type.String({ minLength: 1 }),
});
export type PendingKey = Static<typeof PendingKey>;

/** agent.json, or undefined if this host is not enrolled here. @throws FairleadError when it cannot be read */
export async function readRecord(stateDir: string): Promise<AgentRecord | undefined> {
  const text = await readIfThere(join(stateDir, FILES.record));
  return text === undefined ? undefined : parseJson(AgentRecord, text, join(stateDir, FILES.record));
}

/**
 * The identity in `stateDir`.
 * @throws FairleadError NOT_FOUND when not enrolled, VALIDATION when the files are damaged or do not belong together
 */
export async function loadIdentity(stateDir: string): Promise<Identity> {
  const record = await readRecord(stateDir);
  if (record === undefined) throw notEnrolled(stateDir);
  const [key, cert, caPem] = await Promise.all([
    readState(stateDir, FILES.key),
    readState(stateDir, FILES.cert),
    readState(stateDir, FILES.ca),
  ]);
  const { keyPem, certPem } = await wholePair(stateDir, { keyPem: key, certPem: cert });
  const certificate = parseIdentity(stateDir, keyPem, certPem);
  if (!pinsOf(stateDir, caPem).includes(record.caFingerprint)) {
    throw damaged(stateDir, 'ca.pem is not the CA that agent.json names');
  }
  return { record, keyPem, certPem, caPem, certificate };
}

/** A process that was killed as it put a proven pair in place has left the new key beside the old certificate. */
async function wholePair(stateDir: string, pair: { keyPem: string; certPem: string }): Promise<typeof pair> {
  const { keyPem, certPem } = (await readJournal(stateDir)) ?? {};
  return certPem !== undefined && keyPem === pair.keyPem ? { keyPem, certPem } : pair;
}

/** renewal.json, or undefined if no renewal is under way. @throws FairleadError VALIDATION */
export async function readJournal(stateDir: string): Promise<RenewalJournal | undefined> {
  const path = join(stateDir, FILES.journal);
  const text = await readIfThere(path);
  return text === undefined ? undefined : parseJson(RenewalJournal, text, path);
}

function pinsOf(stateDir: string, caPem: string): string[] {
  try {
    return rootsIn(caPem).map(({ pin }) => pin);
  } catch (cause) {
    throw damaged(stateDir, 'ca.pem holds no CA', cause);
  }
}

function parseIdentity(stateDir: string, keyPem: string, certPem: string): X509Certificate {
  let certificate: X509Certificate;
  let matches: boolean;
  try {
    certificate = new X509Certificate(certPem);
    matches = certificate.checkPrivateKey(createPrivateKey(keyPem));
  } catch (cause) {
    throw damaged(stateDir, 'key.pem or cert.pem cannot be read', cause);
  }
  if (!matches) throw damaged(stateDir, 'key.pem and cert.pem do not belong together');
  return certificate;
}

/** Stores what enroll received. agent.json comes last: with it the host counts as enrolled, without it as not. */
export async function storeIdentity(
  stateDir: string,
  files: { keyPem: string; certPem: string; caPem: string; record: AgentRecord },
): Promise<void> {
  // What is left of another identity's renewal is none of this one's.
  await rm(join(stateDir, FILES.journal), { force: true });
  await writeFileAtomic(join(stateDir, FILES.key), files.keyPem, PRIVATE_MODE);
  await writeFileAtomic(join(stateDir, FILES.cert), files.certPem, PUBLIC_MODE);
  await writeFileAtomic(join(stateDir, FILES.ca), files.caPem, PUBLIC_MODE);
  await writeFileAtomic(join(stateDir, FILES.record), `${JSON.stringify(files.record, undefined, 2)}\n`, PUBLIC_MODE);
}

/**
 * Stores other roots, the first of which has the pin `caFingerprint`. A crash at any moment leaves a ca.pem that holds the
 * root that agent.json names. What the owner wrote into agent.json meanwhile stays.
 * @param before the ca.pem that is there
 * @throws FairleadError VALIDATION when the state directory cannot be read or written
 */
export async function storeTrust(
  stateDir: string,
  { caPem, caFingerprint }: { caPem: string; caFingerprint: string },
  before: string,
): Promise<AgentRecord> {
  const record = await readRecord(stateDir);
  if (record === undefined) throw notEnrolled(stateDir);
  const file = join(stateDir, FILES.ca);
  const changed = { ...record, caFingerprint };
  // For as long as agent.json may name a root of either.
  const both = caPem.includes(before) ? caPem : caPem + before;
  try {
    await writeFileAtomic(file, both, PUBLIC_MODE);
    if (record.caFingerprint !== caFingerprint) {
      await writeFileAtomic(join(stateDir, FILES.record), `${JSON.stringify(changed, undefined, 2)}\n`, PUBLIC_MODE);
    }
    if (both !== caPem) await writeFileAtomic(file, caPem, PUBLIC_MODE);
  } catch (error) {
    throw stateError(stateDir, 'cannot be written', error);
  }
  return changed;
}

/**
 * Removes the identity. agent.json goes first, so that a crash in between leaves a host that is not enrolled.
 * @throws FairleadError NOT_FOUND when there is nothing to remove
 */
export async function removeIdentity(stateDir: string): Promise<void> {
  const files = [FILES.record, FILES.key, FILES.cert, FILES.ca, FILES.pending, FILES.journal];
  try {
    const there = new Set(await readdir(stateDir));
    if (!files.some((name) => there.has(name))) throw notEnrolled(stateDir);
    for (const name of [...files, UPGRADE_FILE]) await rm(join(stateDir, name), { force: true });
    await removeLeftovers(stateDir);
    await syncDirectory(stateDir);
  } catch (error) {
    if (error instanceof FairleadError) throw error;
    throw isMissing(error) ? notEnrolled(stateDir) : stateError(stateDir, 'cannot be cleared', error);
  }
}

/** Removes what a process that was killed while it wrote an identity left behind; to be called by the directory's holder. */
export async function removeLeftovers(stateDir: string): Promise<void> {
  for (const name of await readdir(stateDir)) {
    const target = LEFTOVER.exec(name)?.[1];
    if (target !== undefined && (IDENTITY_FILES.has(target) || target === UPGRADE_FILE))
      await rm(join(stateDir, name), { force: true });
  }
}

/** The key kept from an enrollment whose answer was lost, if it was for this token. */
export async function readPending(stateDir: string, tokenId: string): Promise<PendingKey | undefined> {
  const path = join(stateDir, FILES.pending);
  const text = await readIfThere(path);
  if (text === undefined) return undefined;
  const pending = parseJson(PendingKey, text, path);
  return pending.tokenId === tokenId ? pending : undefined;
}

export async function writePending(stateDir: string, pending: PendingKey): Promise<void> {
  await writeFileAtomic(join(stateDir, FILES.pending), `${JSON.stringify(pending)}\n`, PRIVATE_MODE);
}

export async function removePending(stateDir: string): Promise<void> {
  await rm(join(stateDir, FILES.pending), { force: true });
}

/**
 * Makes sure that `stateDir` exists, belongs to its owner alone, and can be written.
 * @returns an undo that removes the directories it made, as far as they are empty.
 * @throws FairleadError VALIDATION
 */
export async function prepareStateDir(stateDir: string): Promise<() => Promise<void>> {
  try {
    const made = await mkdir(stateDir, { recursive: true, mode: 0o700 });
    if (made === undefined) await tighten(stateDir);
    return () => removeEmpty(resolve(stateDir), made);
  } catch (error) {
    if (error instanceof FairleadError) throw error;
    throw stateError(stateDir, 'cannot be made', error);
  }
}

/** The error for a failed read or write in the state directory. */
export function stateError(path: string, what: string, cause: unknown): FairleadError {
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? ` (${String(cause.code)})` : '';
  const hint =
    code.includes('EACCES') || code.includes('EPERM')
      ? '; run as its owner or as root, or choose another --state-dir'
      : '';
  return new FairleadError('VALIDATION', `the state directory ${path} ${what}${code}${hint}`, { cause });
}

/** Closes an existing directory to others if it is ours alone; refuses one into which others can write. */
async function tighten(stateDir: string): Promise<void> {
  const { mode } = await stat(stateDir);
  if ((mode & 0o077) === 0) return;
  const names = await readdir(stateDir);
  if (names.every((name) => OUR_FILES.has(name))) {
    await chmod(stateDir, 0o700);
  } else if ((mode & 0o022) !== 0) {
    throw new FairleadError(
      'VALIDATION',
      `others may write into ${stateDir}: choose another --state-dir, or chmod 700 it`,
    );
  }
}

/** Removes `directory` and its parents up to `first`, as far as they are empty. */
async function removeEmpty(directory: string, first: string | undefined): Promise<void> {
  if (first === undefined) return;
  for (let path = directory; path.startsWith(resolve(first)); path = dirname(path)) {
    try {
      await rmdir(path);
    } catch (error) {
      // Something else has come to live there: it stays.
      if (isMissing(error)) continue;
      return;
    }
  }
}

async function readState(stateDir: string, name: string): Promise<string> {
  const text = await readIfThere(join(stateDir, name));
  if (text === undefined) throw damaged(stateDir, `${name} is missing`);
  return text;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw stateError(dirname(path), 'cannot be read', error);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function parseJson<S extends typeof AgentRecord | typeof PendingKey | typeof RenewalJournal>(
  schema: S,
  text: string,
  path: string,
): Static<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FairleadError('VALIDATION', `${path} is not JSON`, { cause });
  }
  return validate(schema, value, path);
}

function notEnrolled(stateDir: string): FairleadError {
  return new FairleadError('NOT_FOUND', `this host is not enrolled: there is no identity in ${stateDir}`);
}

function damaged(stateDir: string, what: string, cause?: unknown): FairleadError {
  const way = 'restore it, or remove the directory and enroll again';
  return new FairleadError('VALIDATION', `the identity in ${stateDir} is damaged: ${what}; ${way}`, { cause });
}
