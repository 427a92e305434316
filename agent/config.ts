/** The flags of fairlead-agent, and the typed configuration they become. Every flag can be set by FAIRLEAD_<FLAG> too. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { pinBytes } from '../certs/pin.ts';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import { Tags } from '../shared/messages/control.ts';
import { httpsUrl } from '../shared/pinned-http.ts';
import { fits } from '../shared/validate.ts';
import { parseDockerAddress } from './docker/address.ts';
import type { EnrollOptions } from './identity/enroll.ts';
import { mergePolicy } from './policy/policy.ts';

export interface RunConfig {
  readonly stateDir: string;
  /** A socket path, `unix:///path` or `tcp://host:port`. */
  readonly docker: string;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}

export interface UnenrollConfig {
  readonly stateDir: string;
  /** Delete the identity here without telling the server. */
  readonly local: boolean;
}

const DEFAULT_STATE_DIR = '/etc/fairlead-agent';
const DEFAULT_DOCKER = '/var/run/docker.sock';
const MAX_TOKEN_FILE_BYTES = 4096;
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** A wrong flag: the process exits with 2. */
export class UsageError extends Error {}

/** Adds an option that the environment can set as well. */
function flag(command: Command, flags: string, description: string, shape?: (option: Option) => Option): void {
  const option = new Option(flags, description);
  const name = option.attributeName().replace(/[A-Z]/g, (letter) => `_${letter}`);
  option.env(`FAIRLEAD_${name.toUpperCase()}`);
  command.addOption(shape === undefined ? option : shape(option));
}

/** A flag that may be repeated; in the environment its values are separated by commas. */
const repeatable = (option: Option) =>
  option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), ...value.split(',')]);

export function addCommonFlags(command: Command): void {
  flag(command, '--state-dir <dir>', "where this host's identity is kept", (o) => o.default(DEFAULT_STATE_DIR));
  flag(command, '--log-level <level>', 'how much is logged', (o) => o.choices(LOG_LEVELS).default('info'));
}

export function addEnrollFlags(command: Command): void {
  flag(command, '--server <url>', "the server's API, as in https://fairlead:8440");
  flag(command, '--token <token>', 'the enrollment token; "-" reads it from stdin');
  flag(command, '--token-file <file>', 'a file with the enrollment token');
  flag(command, '--name <name>', "the host's name in the mesh (default: its hostname)");
  flag(command, '--tag <tag>', 'a tag for the host; may be repeated', repeatable);
  flag(command, '--ca-fingerprint <pin>', "the CA's fingerprint, sha256:HEX; must agree with the token's");
  flag(command, '--ca-file <pem>', "the CA's certificate; must agree with the token's fingerprint");
}

export function addRunFlags(command: Command): void {
  flag(command, '--docker <address>', 'a socket path or tcp://HOST:PORT', (o) => o.default(DEFAULT_DOCKER));
  const forms = 'container.exec.open, container.*, exec (a class: read, change, exec) or *';
  flag(command, '--allow <kind>', `serve only these kinds: ${forms}; may be repeated`, repeatable);
  flag(command, '--deny <kind>', 'never serve these kinds; wins over --allow; may be repeated', repeatable);
}

/** What commander parsed; its own types say no more. */
export type RawFlags = Readonly<Record<string, unknown>>;

/** What run needs. @throws UsageError */
export function runConfig(flags: RawFlags): RunConfig {
  const docker = text(flags, 'docker') ?? DEFAULT_DOCKER;
  const policy = { allow: texts(flags, 'allow'), deny: texts(flags, 'deny') };
  checked('--docker', () => parseDockerAddress(docker));
  checked('--allow or --deny', () => mergePolicy({}, policy));
  return { stateDir: stateDir(flags), docker, ...policy };
}

export function unenrollConfig(flags: RawFlags): UnenrollConfig {
  return { stateDir: stateDir(flags), local: flags['local'] === true };
}

export function stateDir(flags: RawFlags): string {
  return resolve(text(flags, 'stateDir') ?? DEFAULT_STATE_DIR);
}

/**
 * What enroll needs, with the token read from where the flags say.
 * @param isGiven whether a flag stands on the command line, where it wins over one from the environment
 * @throws UsageError
 */
export async function enrollConfig(
  flags: RawFlags,
  isGiven: (name: string) => boolean,
  readStdin: (maxBytes: number) => Promise<string>,
): Promise<EnrollOptions> {
  const server = serverUrl(text(flags, 'server'));
  const token = await readToken(flags, isGiven, readStdin);
  const name = text(flags, 'name');
  const tags = texts(flags, 'tag');
  if (!fits(Tags, tags)) throw new UsageError('--tag: at most 32 different tags of letters, digits and . : = / _ -');
  const caFingerprint = text(flags, 'caFingerprint');
  if (caFingerprint !== undefined) checked('--ca-fingerprint', () => pinBytes(caFingerprint));
  const caFile = text(flags, 'caFile');
  return {
    server,
    token,
    stateDir: stateDir(flags),
    tags,
    ...(name === undefined ? {} : { name }),
    ...(caFingerprint === undefined ? {} : { caFingerprint }),
    ...(caFile === undefined ? {} : { caPem: await readNamed('--ca-file', caFile) }),
  };
}

function serverUrl(given: string | undefined): string {
  if (given === undefined) throw new UsageError('--server is missing: give the server as https://HOST:8440');
  return checked('--server', () => httpsUrl(given.includes('://') ? given : `https://${given}`).href);
}

/** The result of `read`, whose complaint becomes one about the flag. */
function checked<T>(flagName: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isFairleadError(error) ? new UsageError(`${flagName}: ${error.message}`) : error;
  }
}

async function readToken(
  flags: RawFlags,
  isGiven: (name: string) => boolean,
  readStdin: (maxBytes: number) => Promise<string>,
): Promise<string> {
  const token = text(flags, 'token');
  const file = text(flags, 'tokenFile');
  if (token !== undefined && file !== undefined && isGiven('token') === isGiven('tokenFile')) {
    throw new UsageError('--token and --token-file exclude each other');
  }
  const useFile = file !== undefined && (token === undefined || isGiven('tokenFile'));
  if (useFile) return notEmpty(await readNamed('--token-file', file), `--token-file ${file}`);
  if (token === undefined) throw new UsageError('--token or --token-file is missing');
  return token === '-' ? notEmpty(await readStdin(MAX_TOKEN_FILE_BYTES), 'stdin') : notEmpty(token, '--token');
}

function notEmpty(token: string, where: string): string {
  if (token.trim() === '') throw new UsageError(`${where} holds no token`);
  return token.trim();
}

async function readNamed(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new FairleadError('VALIDATION', `${name} ${path} cannot be read (${code})`, { cause: error });
  }
}

function text(flags: RawFlags, name: string): string | undefined {
  const value = flags[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function texts(flags: RawFlags, name: string): string[] {
  const value = flags[name];
  return Array.isArray(value) ? value.map((entry) => String(entry).trim()).filter((entry) => entry !== '') : [];
}
