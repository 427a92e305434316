/** The cookie of a user's session: how it is set and read, and what a request by it must show besides. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import type { Authenticator } from './authenticators.ts';
import type { ApiDeps } from './deps.ts';
import { isMadeElsewhere, isOwnOrigin, isSafe } from './own-origin.ts';
import { asksForWebSocket } from './upgrades.ts';

/** Browsers take a cookie of this prefix from HTTPS alone, for one host alone and for all of its paths. */
export const SESSION_COOKIE = '__Host-fairlead';
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Strict';
const MAX_TOKEN_CHARS = 128;

/** Gives the browser the session; it keeps it until it is closed. */
export function setSessionCookie(reply: FastifyReply, secret: string): void {
  reply.header('set-cookie', `${SESSION_COOKIE}=${secret}; ${ATTRIBUTES}`);
}

export function clearSessionCookie(reply: FastifyReply): void {
  reply.header('set-cookie', `${SESSION_COOKIE}=; ${ATTRIBUTES}; Max-Age=0`);
}

/** What the request's cookies say; more than one is somebody's attempt to slip in another. */
export function sessionSecret({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined {
  const pairs = (headers.cookie ?? '').split(';').map((pair) => pair.trim());
  const values = pairs.filter((pair) => pair.startsWith(`${SESSION_COOKIE}=`));
  const [first] = values;
  if (first === undefined) return undefined;
  return values.length === 1 ? first.slice(SESSION_COOKIE.length + 1) : '';
}

/** @throws FairleadError CONFLICT if the cookie would cross the network unencrypted */
export function requireHttps(
  { headers }: Pick<FastifyRequest, 'headers'>,
  deps: Pick<ApiDeps, 'https' | 'trustProxy'>,
): void {
  if (deps.https !== undefined) return;
  const scheme = headers['x-forwarded-proto'];
  if (deps.trustProxy && (scheme === undefined || scheme === 'https')) return;
  throw new FairleadError(
    'CONFLICT',
    'login by password needs HTTPS: with --api-tls off it works behind a TLS proxy alone, with --trust-proxy',
  );
}

export function sessionCookie(deps: ApiDeps): Authenticator {
  return (request, reply) => {
    const secret = sessionSecret(request);
    if (secret === undefined) return undefined;
    return {
      check: () => authenticate(request, reply, deps, secret),
      forgery: () => forgery(request, deps, secret),
    };
  };
}

async function authenticate(request: FastifyRequest, reply: FastifyReply, deps: ApiDeps, secret: string) {
  requireHttps(request, deps);
  try {
    return await deps.logins.authenticate(secret);
  } catch (error) {
    // A browser would send it again and again.
    clearSessionCookie(reply);
    throw error;
  }
}

function forgery(request: FastifyRequest, deps: ApiDeps, secret: string): FairleadError | undefined {
  const { origin, 'x-csrf-token': token } = request.headers;
  const isSocket = asksForWebSocket(request.raw);
  // A WebSocket cannot carry a header of the page's choice, but its origin is the browser's word. So it is of an EventSource of
  // another page, which reads nothing here, but would keep a stream.
  const needsOrigin = isSocket || origin !== undefined;
  if (needsOrigin && !isOwnOrigin(request, deps)) {
    const from = origin === undefined ? 'names no origin' : 'comes from a page of another origin';
    return new FairleadError('FORBIDDEN', `the request ${from}: pages of this server are those of its --public-host`);
  }
  if (!isSocket && isMadeElsewhere(request)) {
    return new FairleadError('FORBIDDEN', 'a page of another origin made the browser send this');
  }
  if (isSafe(request)) return undefined;
  const fits = typeof token === 'string' && token.length <= MAX_TOKEN_CHARS && deps.logins.fitsCsrfToken(secret, token);
  return fits
    ? undefined
    : new FairleadError(
        'FORBIDDEN',
        'a change by cookie needs a header `x-csrf-token` with the csrfToken of the login',
      );
}
