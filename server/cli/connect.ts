/** Turns global options, environment and stored context into a client of one server. */
import { readFile } from 'node:fs/promises';
import { rootsIn } from '../../certs/trust.ts';
import { ApiClient, type ApiTarget } from './api-client.ts';
import { type Context, contextPath, loadContext } from './context-file.ts';
import { CliError, usageError } from './errors.ts';
import { dropRetired, followEndorsements } from './follow-trust.ts';
import type { CliIo } from './io.ts';
import { learnCa, pinOf, serverUrl, type Trust } from './trust.ts';

const MAX_TOKEN_BYTES = 4096;

/** The options that every command takes. */
export interface GlobalOptions {
  server?: string;
  apiTokenFile?: string;
  apiCa?: string;
  json?: boolean;
}

/** A client for what the options, the environment and the context say, in this order. @throws CliError if they say too little */
export async function connect(options: GlobalOptions, io: CliIo): Promise<ApiClient> {
  return new ApiClient(await target(options, io));
}

/** Whom the options, the environment and the context name; nobody was asked anything yet. */
export interface Login {
  readonly url: URL;
  readonly token: string;
  /** The stored login of this server. */
  readonly stored: Context | undefined;
}

/** @throws CliError if they say too little */
export async function loginOf(options: GlobalOptions, io: CliIo): Promise<Login> {
  const path = contextPath(io.env);
  const given = await givenToken(options, io);
  const context = options.server !== undefined && given !== undefined ? undefined : await loadContext(path);
  const server = options.server ?? context?.server;
  if (server === undefined) {
    throw usageError('no server is given: use --server URL and --api-token-file FILE, or run `fairlead login` once');
  }
  const url = serverUrl(server);
  // A stored token goes to the server it was stored for and to no other.
  const stored = context !== undefined && serverUrl(context.server).href === url.href ? context : undefined;
  const token = given ?? stored?.token;
  if (token === undefined) {
    throw usageError(`no API token is given for ${url.host}: use --api-token-file FILE, or run \`fairlead login\``);
  }
  return { url, token, stored };
}

/** As `connect`, but for the target alone. */
export async function target(options: GlobalOptions, io: CliIo): Promise<ApiTarget> {
  const { url, token, stored } = await loginOf(options, io);
  const path = contextPath(io.env);
  if (stored !== undefined && options.apiCa === undefined && isOwnLogin(stored, token)) {
    const login = { path, context: stored, url, now: io.now() };
    const trust = await dropRetired(login);
    return { url, token, trust, follow: () => followEndorsements({ ...login, context: { ...stored, trust } }) };
  }
  return { url, token, trust: await trustFor(url, token, options.apiCa, io.now()) };
}

/** Whether the login was stored for the token, or for another one of the same CA: its trust then goes for both. */
function isOwnLogin({ trust, token: own }: Context, token: string): boolean {
  if (token === own || trust.kind !== 'internal') return true;
  return rootsIn(trust.ca).some(({ pin }) => pin === pinOf(token));
}

async function trustFor(url: URL, token: string, apiCa: string | undefined, now: number): Promise<Trust> {
  if (url.protocol === 'http:') return { kind: 'loopback' };
  if (apiCa === 'system') return { kind: 'system' };
  if (apiCa !== undefined) return { kind: 'file', ca: await readText(apiCa, 'the CA file') };
  return await learnCa(url, token, { now });
}

/** The API token that flags or environment give; undefined if none does. */
async function givenToken(options: GlobalOptions, io: CliIo): Promise<string | undefined> {
  if (options.apiTokenFile === '-') return cleanToken(await readStdin(io), 'standard input');
  if (options.apiTokenFile !== undefined) {
    return cleanToken(await readText(options.apiTokenFile, 'the API token file'), options.apiTokenFile);
  }
  const token = io.env['FAIRLEAD_API_TOKEN'];
  return token ? cleanToken(token, 'FAIRLEAD_API_TOKEN') : undefined;
}

function cleanToken(text: string, source: string): string {
  const token = text.trim();
  if (token === '') throw usageError(`there is no API token in ${source}`);
  pinOf(token); // says at once what is wrong with a mistyped or truncated token
  return token;
}

async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new CliError(`cannot read ${what}: ${(error as Error).message}`, { cause: error });
  }
}

async function readStdin(io: CliIo): Promise<string> {
  if (io.stdin.isTTY) {
    throw usageError('an API token typed here would be seen: give it with --api-token-file FILE or pipe it in');
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of io.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_TOKEN_BYTES) throw usageError('what came on standard input is no API token: it is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
