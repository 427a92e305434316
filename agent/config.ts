/** The configuration of fairlead-agent: the flags of its commands as schemas, and the checks that go beyond a schema. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import Type, { type Static } from 'typebox';
import { pinBytes } from '../certs/pin.ts';
import { durationFlag, parseDuration } from '../shared/duration.ts';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import { LogLevel } from '../shared/flags.ts';
import { Tags } from '../shared/messages/control.ts';
import { httpsUrl } from '../shared/pinned-http.ts';
import { embeddedReleaseKeys } from '../shared/releases/embedded.ts';
import { type ReleaseKeys, readReleaseKeys } from '../shared/releases/signature.ts';
import { fits } from '../shared/validate.ts';
import { parseDockerAddress } from './docker/address.ts';
import { hawserFlags } from './hawser/flags.ts';
import type { EnrollOptions } from './identity/enroll.ts';
import { mergePolicy } from './policy/policy.ts';

export const DEFAULT_STATE_DIR = '/etc/fairlead-agent';
const MAX_TOKEN_CHARS = 4096;

const optional = (description: string, metavar: string) => Type.Optional(Type.String({ description, metavar }));
const list = (description: string, metavar: string) =>
  Type.Array(Type.String(), { description: `${description}; may be repeated`, metavar, default: [] });
const yes = (description: string) => Type.Boolean({ description, default: false });

const common = {
  stateDir: Type.String({
    minLength: 1,
    description: "where this host's identity is kept",
    metavar: 'dir',
    default: DEFAULT_STATE_DIR,
  }),
  logLevel: LogLevel,
};

export const EnrollFlags = Type.Object({
  server: optional("the server's API, as in https://fairlead:8440", 'url'),
  token: optional('the enrollment token; "-" reads it from stdin', 'token'),
  tokenFile: optional('a file with the enrollment token', 'file'),
  name: optional("the host's name in the mesh (by default its hostname)", 'name'),
  tag: list('a tag for the host', 'tag'),
  caFingerprint: optional("the CA's fingerprint; must agree with the token's", 'sha256:hex'),
  caFile: optional("the CA's certificate; must agree with the token's fingerprint", 'pem'),
  ...common,
});
export type EnrollFlags = Static<typeof EnrollFlags>;

export const RunFlags = Type.Object({
  docker: Type.String({
    minLength: 1,
    description: 'where Docker listens: a socket path or tcp://host:port',
    metavar: 'address',
    default: '/var/run/docker.sock',
  }),
  allow: list(
    'serve only this: a preset (read-only, operate, full), a kind (container.list), a family (container.*), a class ' +
      '(read, change, exec); or let Docker be asked only this: "docker:GET /containers/**"; or let connections be made to ' +
      'this port: tcp:CONTAINER:PORT, tcp:host:PORT',
    'entry',
  ),
  deny: list('never serve this kind, family or class, or never ask Docker this; wins over --allow', 'entry'),
  renewBefore: durationFlag({
    description: 'how long before it expires the certificate is renewed, or at half of its life if that is short',
    default: '7d',
  }),
  releaseKey: list(
    'a file with a public key that releases of the agent may be signed by, besides those it has in itself',
    'file',
  ),
  ...hawserFlags,
  ...common,
});
export type RunFlags = Static<typeof RunFlags>;

/** Of the process that an agent starts to watch over the version that follows it. */
export const WatchFlags = Type.Object({
  launch: yes('starts the watcher as a process that nobody waits for'),
  executable: Type.String({ minLength: 1, description: 'the executable that was replaced', metavar: 'file' }),
  sequence: Type.Integer({ minimum: 1, description: 'the release that it was replaced by' }),
  pid: Type.Integer({ minimum: 1, description: 'the process of the agent' }),
  start: optional('what tells that process from a later one with the same number', 'boot:ticks'),
  settleMs: Type.Integer({
    minimum: 1,
    description: 'how long the new version has to be welcomed by the server, in ms',
  }),
  ...common,
});
export type WatchFlags = Static<typeof WatchFlags>;

export const StatusFlags = Type.Object({ json: yes('prints JSON'), ...common });
export type StatusFlags = Static<typeof StatusFlags>;

export const DoctorFlags = Type.Object({
  docker: RunFlags.properties.docker,
  json: yes('prints JSON'),
  ...common,
});
export type DoctorFlags = Static<typeof DoctorFlags>;

export const SupportBundleFlags = Type.Object({
  out: Type.String({ minLength: 1, description: 'the .tar.gz to write', metavar: 'file' }),
  docker: RunFlags.properties.docker,
  ...common,
});
export type SupportBundleFlags = Static<typeof SupportBundleFlags>;

export const UnenrollFlags = Type.Object({
  local: yes('deletes the identity here only, without telling the server'),
  ...common,
});
export type UnenrollFlags = Static<typeof UnenrollFlags>;

export const LicensesFlags = Type.Object({});

export interface RunConfig {
  readonly stateDir: string;
  /** A socket path, `unix:///path` or `tcp://host:port`. */
  readonly docker: string;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** How long before it expires the certificate is renewed. */
  readonly renewBeforeMs: number;
}

export interface UnenrollConfig {
  readonly stateDir: string;
  /** Delete the identity here without telling the server. */
  readonly local: boolean;
}

/** A wrong flag: the process exits with 2. */
export class UsageError extends Error {}

/** What run needs. @throws UsageError */
export function runConfig(flags: RunFlags): RunConfig {
  const { docker, allow, deny } = flags;
  checked('--docker', () => parseDockerAddress(docker));
  checked(undefined, () => mergePolicy({}, { allow, deny }));
  const renewBeforeMs = parseDuration(flags.renewBefore) ?? 0;
  if (renewBeforeMs === 0) throw new UsageError('--renew-before must be at least 1s');
  return { stateDir: resolve(flags.stateDir), docker, allow, deny, renewBeforeMs };
}

/** What the doctor looks at. @throws UsageError */
export function doctorConfig({
  stateDir,
  docker,
}: Pick<DoctorFlags, 'stateDir' | 'docker'>): Pick<RunConfig, 'stateDir' | 'docker'> {
  checked('--docker', () => parseDockerAddress(docker));
  return { stateDir: resolve(stateDir), docker };
}

/**
 * What enroll needs, with the token read from where the flags say.
 * @param given what stands on the command line, where --token-file wins over a token from the environment and the other way
 * @throws UsageError, FairleadError VALIDATION for a file that cannot be read
 */
export async function enrollConfig(
  flags: EnrollFlags,
  given: Readonly<Record<string, unknown>>,
  readStdin: (maxChars: number) => Promise<string>,
): Promise<EnrollOptions> {
  const { name, tag, caFingerprint, caFile } = flags;
  const server = serverUrl(flags.server);
  const token = await readToken(flags, given, readStdin);
  if (!fits(Tags, tag)) throw new UsageError('--tag: at most 32 different tags of letters, digits and . : = / _ -');
  if (caFingerprint !== undefined) checked('--ca-fingerprint', () => pinBytes(caFingerprint));
  return {
    server,
    token,
    stateDir: resolve(flags.stateDir),
    tags: tag,
    ...(name === undefined ? {} : { name }),
    ...(caFingerprint === undefined ? {} : { caFingerprint }),
    ...(caFile === undefined ? {} : { caPem: await readNamed('--ca-file', caFile) }),
  };
}

function serverUrl(given: string | undefined): string {
  if (given === undefined) throw new UsageError('--server is missing: give the server as https://HOST:8440');
  return checked('--server', () => httpsUrl(given.includes('://') ? given : `https://${given}`).href);
}

/** The result of `read`, whose complaint becomes one about the flag; undefined: it names the flag itself. */
function checked<T>(flagName: string | undefined, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    throw new UsageError(flagName === undefined ? error.message : `${flagName}: ${error.message}`);
  }
}

async function readToken(
  flags: EnrollFlags,
  given: Readonly<Record<string, unknown>>,
  readStdin: (maxChars: number) => Promise<string>,
): Promise<string> {
  const { token, tokenFile } = flags;
  const isFileGiven = given['tokenFile'] !== undefined;
  if (token !== undefined && tokenFile !== undefined && (given['token'] !== undefined) === isFileGiven) {
    throw new UsageError('--token and --token-file exclude each other');
  }
  if (tokenFile !== undefined && (token === undefined || isFileGiven)) {
    return notEmpty(await readNamed('--token-file', tokenFile), `--token-file ${tokenFile}`);
  }
  if (token === undefined) throw new UsageError('--token or --token-file is missing');
  return token === '-' ? notEmpty(await readStdin(MAX_TOKEN_CHARS), 'stdin') : notEmpty(token, '--token');
}

function notEmpty(token: string, where: string): string {
  if (token.trim() === '') throw new UsageError(`${where} holds no token`);
  return token.trim();
}

/** The keys that releases may be signed by: those in this executable, and those of --release-key. @throws FairleadError VALIDATION */
export async function releaseKeys({ releaseKey }: Pick<RunFlags, 'releaseKey'>): Promise<ReleaseKeys> {
  const keys = new Map(embeddedReleaseKeys());
  for (const file of releaseKey) {
    const given = readReleaseKeys(await readNamed('--release-key', file), `--release-key ${file}`);
    if (given.size === 0) throw new FairleadError('VALIDATION', `--release-key ${file} is empty`);
    for (const [id, key] of given) keys.set(id, key);
  }
  return keys;
}

/** The text of the file that a flag names. @throws FairleadError VALIDATION that names both */
export async function readNamed(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new FairleadError('VALIDATION', `${name} ${path} cannot be read (${code})`, { cause: error });
  }
}
