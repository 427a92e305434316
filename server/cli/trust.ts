/** How the CLI decides that it talks to the right server: by the CA's pin in the API token, never by what is presented. */
import Type, { type Static } from 'typebox';
import { parseToken } from '../../certs/enrollment-token.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { MAX_BUNDLE_BYTES, pemOf, trustFrom } from '../../certs/trust.ts';
import { fetchUntrusted, pinnedTls } from '../../shared/pinned-http.ts';
import { CliError, usageError } from './errors.ts';

/** What a connection trusts. */
export const Trust = Type.Union([
  /** Fairlead's own roots and the server's fixed name, whatever address is dialled. */
  Type.Object({ kind: Type.Literal('internal'), ca: Type.String() }),
  /** A CA the user named, for `--api-tls files` or a TLS proxy; the server's name is the URL's. */
  Type.Object({ kind: Type.Literal('file'), ca: Type.String() }),
  /** The CAs that Node and the system trust. */
  Type.Object({ kind: Type.Literal('system') }),
  /** No TLS at all: http:// to this machine, which nobody else can listen to. */
  Type.Object({ kind: Type.Literal('loopback') }),
]);
export type Trust = Static<typeof Trust>;

/** The TLS options of a connection that trusts exactly `trust`. */
export function tlsOptions(trust: Trust): { ca?: string; servername?: string; rejectUnauthorized: true } {
  if (trust.kind === 'internal') return pinnedTls(trust.ca, INTERNAL_SERVER_NAME);
  // Said outright: NODE_TLS_REJECT_UNAUTHORIZED must not be able to turn verification off.
  return trust.kind === 'file' ? { ca: trust.ca, rejectUnauthorized: true } : { rejectUnauthorized: true };
}

/** The server's base URL without a path's last slash. @throws CliError for anything but https://, or http:// to this machine. */
export function serverUrl(text: string): URL {
  const url = URL.parse(text.includes('://') ? text : `https://${text}`);
  if (url === null) throw usageError(`${text} is not a URL: give the server as https://HOST:8440`);
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw usageError('the server URL takes no user, password, query or fragment');
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw usageError(`${text} does not start with https://`);
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw usageError(`${text} would send the API token unencrypted: http:// is for this machine only, use https://`);
  }
  url.pathname = url.pathname.replace(/\/+$/, '');
  return url;
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** The pin inside an API token. @throws FairleadError TOKEN_INVALID with what is wrong with the text. */
export function pinOf(apiToken: string): string {
  return parseToken('fla1', apiToken).pin;
}

/** Fetches the roots from `url` and keeps the one that `apiToken` names and those that it endorses `now` (ms since 1970). */
export async function learnCa(
  url: URL,
  apiToken: string,
  { now, signal }: { now: number; signal?: AbortSignal },
): Promise<Trust> {
  const pin = pinOf(apiToken);
  const bundle = await fetchUntrusted(url.href.replace(/\/$/, ''), {
    maxBytes: MAX_BUNDLE_BYTES,
    ...(signal === undefined ? {} : { signal }),
  });
  const roots = trustFrom(bundle, pin, now);
  if (roots.length === 0) {
    throw new CliError(
      `the server at ${url.host} has another CA than the one the API token was made by: the token is of another ` +
        'installation, or from before the CA was changed (make a new one), or somebody stands between; nothing was sent to it',
    );
  }
  return { kind: 'internal', ca: pemOf(roots) };
}
