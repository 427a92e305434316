/** What the flags of Hawser's modes come to: addresses, the token, certificates. */
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { FairleadError } from '../../shared/errors.ts';
import { type RunFlags, readNamed, UsageError } from '../config.ts';
import { MAX_TOKEN_CHARS, MIN_TOKEN_CHARS } from './limits.ts';

export interface StandardConfig {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly token: string;
  /** PEM; absent: no TLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

export interface EdgeConfig {
  readonly url: string;
  readonly token: string;
  /** PEM; absent: what the system trusts. */
  readonly ca?: string;
}

export interface HawserConfig {
  readonly standard?: StandardConfig;
  readonly edge?: EdgeConfig;
}

type Flags = Pick<
  RunFlags,
  | 'hawserStandard'
  | 'hawserTlsCert'
  | 'hawserTlsKey'
  | 'hawserEdge'
  | 'hawserCaFile'
  | 'hawserTokenFile'
  | 'hawserInsecurePlaintext'
>;

/** The environment variable that the token may be in; no flag has it, since everybody can read those. */
export const TOKEN_VARIABLE = 'FAIRLEAD_HAWSER_TOKEN';

/**
 * @param fromEnvironment the value of `TOKEN_VARIABLE`; the file of --hawser-token-file wins over it
 * @throws UsageError, FairleadError VALIDATION for a file that cannot be read or used
 */
export async function hawserConfig(flags: Flags, fromEnvironment: string | undefined): Promise<HawserConfig> {
  const { hawserStandard, hawserEdge } = flags;
  if (hawserStandard === undefined && hawserEdge === undefined) return {};
  const token = await readToken(flags, fromEnvironment);
  return {
    ...(hawserStandard === undefined ? {} : { standard: await standardConfig(hawserStandard, token, flags) }),
    ...(hawserEdge === undefined ? {} : { edge: await edgeConfig(hawserEdge, token, flags) }),
  };
}

async function readToken({ hawserTokenFile }: Flags, fromEnvironment = ''): Promise<string> {
  const isInFile = hawserTokenFile !== undefined;
  const where = isInFile ? `--hawser-token-file ${hawserTokenFile}` : TOKEN_VARIABLE;
  const token = (isInFile ? await readNamed('--hawser-token-file', hawserTokenFile) : fromEnvironment).trim();
  if (token === '' && !isInFile) {
    throw new UsageError(`--hawser-token-file is missing: without a token anybody would have this host`);
  }
  if (token.length < MIN_TOKEN_CHARS || token.length > MAX_TOKEN_CHARS || !/^[!-~]+$/.test(token)) {
    const room = `${MIN_TOKEN_CHARS} to ${MAX_TOKEN_CHARS} characters`;
    throw new UsageError(
      `${where} holds no token: it must have ${room}, without spaces; openssl rand -hex 32 makes one`,
    );
  }
  return token;
}

async function standardConfig(listen: string, token: string, flags: Flags): Promise<StandardConfig> {
  const { hawserTlsCert, hawserTlsKey, hawserInsecurePlaintext } = flags;
  const { host: given, port } = listenAddress(listen);
  if ((hawserTlsCert === undefined) !== (hawserTlsKey === undefined)) {
    throw new UsageError('--hawser-tls-cert and --hawser-tls-key go together');
  }
  if (hawserTlsCert !== undefined && hawserTlsKey !== undefined) {
    const cert = await readNamed('--hawser-tls-cert', hawserTlsCert);
    const key = await readNamed('--hawser-tls-key', hawserTlsKey);
    requirePair(cert, key);
    return { host: given ?? '::', port, token, tls: { cert, key } };
  }
  const host = given ?? (hawserInsecurePlaintext ? '::' : '127.0.0.1');
  if (!isLoopback(host) && !hawserInsecurePlaintext) {
    throw new UsageError(
      `--hawser-standard ${listen} reaches beyond this machine: give --hawser-tls-cert and --hawser-tls-key, or accept by ` +
        '--hawser-insecure-plaintext that the token can be read on the way',
    );
  }
  return { host, port, token };
}

async function edgeConfig(given: string, token: string, flags: Flags): Promise<EdgeConfig> {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url === undefined || (url.protocol !== 'wss:' && url.protocol !== 'ws:')) {
    throw new UsageError('--hawser-edge must be a URL as wss://HOST/api/hawser/connect');
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError('--hawser-edge must not carry a user name or a password');
  }
  url.hash = '';
  if (url.protocol === 'ws:' && !isLoopback(url.hostname) && !flags.hawserInsecurePlaintext) {
    throw new UsageError(
      '--hawser-edge must begin with wss: over ws the token can be read on the way; --hawser-insecure-plaintext accepts that',
    );
  }
  const { hawserCaFile } = flags;
  if (hawserCaFile === undefined) return { url: url.href, token };
  const ca = await readNamed('--hawser-ca-file', hawserCaFile);
  if (!ca.includes('-----BEGIN CERTIFICATE-----')) {
    throw new FairleadError('VALIDATION', `--hawser-ca-file ${hawserCaFile} holds no certificate in PEM`);
  }
  return { url: url.href, token, ca };
}

function listenAddress(text: string): { host: string | undefined; port: number } {
  const [, bracketed, plain, digits = ''] = /^(?:(?:\[([^\]]+)\]|([^:[\]]+)):)?(\d{1,5})$/.exec(text) ?? [];
  const port = digits === '' ? Number.NaN : Number(digits);
  if (!(port <= 65_535) || (bracketed !== undefined && isIP(bracketed) !== 6)) {
    throw new UsageError('--hawser-standard must be PORT or HOST:PORT, as 2376, 192.0.2.7:2376 or [::1]:2376');
  }
  return { host: bracketed ?? plain, port };
}

function isLoopback(host: string): boolean {
  const plain = host.replace(/^\[|\]$/g, '');
  return plain === 'localhost' || plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'));
}

function requirePair(cert: string, key: string): void {
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
    const what = `--hawser-tls-cert and --hawser-tls-key are no certificate and its key in PEM${code}`;
    throw new FairleadError('VALIDATION', what, { cause });
  }
}
