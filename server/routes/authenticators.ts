/** The ways in which a request can say who asks. */
import type { FastifyRequest } from 'fastify';
import type { ApiDeps, Principal } from './deps.ts';

const MAX_TOKEN_CHARS = 1024;

/**
 * One way to say who asks: what a request shows of its kind, as the work of checking it, which throws FairleadError
 * UNAUTHORIZED for what is not good. Undefined if it shows nothing; to find that out must cost next to nothing, since an
 * address that failed too often is turned away before anything is checked.
 */
export type Authenticator = (request: FastifyRequest) => (() => Promise<Principal>) | undefined;

/** All ways, in the order in which they count: the first that a request shows something of decides. */
export function authenticators(deps: Pick<ApiDeps, 'apiTokens'>): readonly Authenticator[] {
  return [bearerToken(deps), passwordToken(deps)];
}

/** An API token in `Authorization: Bearer`. */
function bearerToken({ apiTokens }: Pick<ApiDeps, 'apiTokens'>): Authenticator {
  return ({ headers, ip }) => {
    const token = bearer(headers.authorization);
    return token === undefined ? undefined : () => apiTokens.authenticate(token, ip);
  };
}

/** An API token as the password of HTTP Basic, on routes that a person opens in a browser. */
function passwordToken({ apiTokens }: Pick<ApiDeps, 'apiTokens'>): Authenticator {
  return ({ headers, ip, routeOptions }) => {
    const token = routeOptions.config.basicAuth ? basic(headers.authorization) : undefined;
    return token === undefined ? undefined : () => apiTokens.authenticate(token, ip);
  };
}

function bearer(header: string | undefined): string | undefined {
  const token = /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1];
  return token !== undefined && token.length <= MAX_TOKEN_CHARS ? token : undefined;
}

function basic(header: string | undefined): string | undefined {
  const pair = /^Basic +([A-Za-z0-9+/=]+) *$/i.exec(header ?? '')?.[1];
  if (pair === undefined) return undefined;
  const [, password] = /^[^:]*:(\S+)$/.exec(Buffer.from(pair, 'base64').toString('utf8')) ?? [];
  return password !== undefined && password.length <= MAX_TOKEN_CHARS ? password : undefined;
}
