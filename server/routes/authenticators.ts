/** The ways in which a request can say who asks: by an API token, a session's cookie or a client certificate. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import { clientCertificate } from './client-certificate.ts';
import type { Principal } from './deps/caller.ts';
import type { ApiDeps } from './deps.ts';
import { sessionCookie } from './session-cookie.ts';

const MAX_TOKEN_CHARS = 1024;

/** What a request shows of one way to say who asks. */
export interface Credential {
  /** Whom it stands for. @throws FairleadError UNAUTHORIZED if it does not count */
  check(): Promise<Principal>;
  /** Why another site may have made a browser send it; absent for what a browser never sends by itself. */
  forgery?(): FairleadError | undefined;
}

/**
 * Looks for one kind of credential. @returns undefined if the request shows nothing of it; to find that out must cost next
 * to nothing, since an address that failed too often is turned away before anything is checked
 */
export type Authenticator = (request: FastifyRequest, reply: FastifyReply) => Credential | undefined;

/**
 * All ways, in the order in which they count: what is said outright, whom a browser has logged in, what the connection came
 * with. The first that a request shows something of decides.
 */
export function authenticators(deps: ApiDeps): readonly Authenticator[] {
  return [bearerToken(deps), passwordToken(deps), otherAuthorization, sessionCookie(deps), clientCertificate(deps)];
}

/** The error for a request that does not say who asks. */
export function nothingShown(): FairleadError {
  return new FairleadError(
    'UNAUTHORIZED',
    'this needs an API token, in a header `Authorization: Bearer TOKEN`, a session or a client certificate',
  );
}

/** An API token in `Authorization: Bearer`. */
function bearerToken({ apiTokens }: Pick<ApiDeps, 'apiTokens'>): Authenticator {
  return ({ headers, ip }) => {
    const token = bearer(headers.authorization);
    return token === undefined ? undefined : { check: () => apiTokens.authenticate(token, ip) };
  };
}

/** An API token as the password of HTTP Basic, on routes that a person opens in a browser. */
function passwordToken({ apiTokens }: Pick<ApiDeps, 'apiTokens'>): Authenticator {
  return ({ headers, ip, routeOptions }) => {
    const token = routeOptions.config.basicAuth ? basic(headers.authorization) : undefined;
    return token === undefined ? undefined : { check: () => apiTokens.authenticate(token, ip) };
  };
}

/** A header that holds no token decides, too: nobody sends it by accident. */
const otherAuthorization: Authenticator = ({ headers }) => {
  if (headers.authorization === undefined) return undefined;
  return { check: () => Promise.reject(nothingShown()) };
};

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
