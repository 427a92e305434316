/** Who may do what: a default-deny table made of what the routes declare, who asks, and what is logged of refusals. */
import type {} from '@fastify/swagger';
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { allows } from '../access/roles.ts';
import type { Api } from './app-types.ts';
import { clientCertificate } from './client-certificate.ts';
import { type Authenticator, credentialOf } from './credentials.ts';
import type { Actor, ApiDeps, Principal } from './deps.ts';
import { refusalLog } from './refusals.ts';
import { sessionCookie } from './session-cookie.ts';

/** A token that comes from the same address counts as a new login after this time. */
const LOGIN_MS = 12 * 60 * 60_000;
/** Pairs of token and address that are remembered as logged in. */
const MAX_LOGINS = 10_000;
const MAX_TOKEN_CHARS = 1024;

/** Whom the request's token stands for. Only for routes that are not public. */
export function principalOf(request: FastifyRequest): Principal {
  const { principal } = request;
  if (principal === undefined) throw new Error('a public route has no principal');
  return principal;
}

/** Who asks, for the audit log. */
export function actorOf(request: FastifyRequest): Actor {
  return { name: principalOf(request).name, address: request.ip };
}

/** Refuses, at startup, a route that does not say who may use it, and writes the answer into its OpenAPI description. */
export function declareAccess(route: RouteOptions): void {
  const access = route.config?.access;
  if (access === undefined) throw new Error(`route ${String(route.method)} ${route.url} declares no access`);
  const schema = route.schema ?? {};
  const security = access === 'public' ? [] : [{ bearer: [] }, { session: [] }, { certificate: [] }];
  const role = access === 'public' ? 'Needs no token.' : `Needs the role ${access}.`;
  const { description } = schema as { description?: string };
  route.schema = { ...schema, security, description: description ? `${description} ${role}` : role };
}

/** Guards every route that is registered from now on. */
export function guardRoutes(api: Api, deps: ApiDeps): void {
  api.decorateRequest('principal', undefined);
  api.addHook('onRoute', declareAccess);
  const refusedLogin = refusalLog(api, deps, { action: 'login', perAddress: 'refusedLoginsPerMinute' });
  // Apart from those who have no token, so that a flood of theirs hides nothing that a token's holder tries.
  const forbidden = refusalLog(api, deps, { action: 'forbidden', perAddress: 'refusedLoginsPerMinute' });
  const logins = loginLog(deps);
  api.addHook('onRequest', async (request, reply) => {
    if (request.is404) return;
    const access = request.routeOptions.config.access;
    if (access === 'public') return;
    const credential = credentialOf(AUTHENTICATORS, request, reply, deps);
    if (credential === undefined) throw nobody(request, reply);
    const principal = await credential.principal.catch(async (error: unknown) => {
      if (isFairleadError(error, 'UNAUTHORIZED') || isFairleadError(error, 'TOKEN_INVALID'))
        await refusedLogin(request, { actor: 'anonymous', address: request.ip, action: 'login', result: 'refused' });
      throw error;
    });
    if (credential.forgery !== undefined) {
      const action = `${request.method} ${request.routeOptions.url ?? ''}`;
      const detail = { why: credential.forgery.message };
      await forbidden(request, { actor: principal.name, address: request.ip, action, result: 'refused', detail });
      throw credential.forgery;
    }
    // A route without access cannot be registered; should one exist all the same, nobody may use it.
    if (access === undefined || !allows(principal.role, access)) {
      const action = `${request.method} ${request.routeOptions.url ?? ''}`;
      await forbidden(request, { actor: principal.name, address: request.ip, action, result: 'refused' });
      const detail = `this needs the role ${access}; ${principal.name} has the role ${principal.role}`;
      throw new FairleadError('FORBIDDEN', detail);
    }
    request.principal = principal;
    await logins(request, principal);
  });
}

/** An API token in the header `Authorization`, which decides alone if it is there: nobody sends it by accident. */
const apiToken: Authenticator = (request, reply, deps) => {
  const { authorization } = request.headers;
  if (authorization === undefined) return undefined;
  return { principal: authenticate(request, reply, deps), forgery: undefined };
};

/** In their order of precedence: what is said outright, whom a browser has logged in, what the connection came with. */
const AUTHENTICATORS: readonly Authenticator[] = [apiToken, sessionCookie, clientCertificate];

async function authenticate(request: FastifyRequest, reply: FastifyReply, deps: ApiDeps): Promise<Principal> {
  const { authorization } = request.headers;
  const { basicAuth } = request.routeOptions.config;
  const token = bearer(authorization) ?? (basicAuth ? basic(authorization) : undefined);
  if (token === undefined) throw nobody(request, reply);
  try {
    return await deps.apiTokens.authenticate(token);
  } catch (error) {
    askForPassword(request, reply);
    throw error;
  }
}

function nobody(request: FastifyRequest, reply: FastifyReply): FairleadError {
  askForPassword(request, reply);
  return new FairleadError(
    'UNAUTHORIZED',
    'this needs an API token, in a header `Authorization: Bearer TOKEN`, a session or a client certificate',
  );
}

/** Makes a browser ask for the token where a person may open the page. */
function askForPassword(request: FastifyRequest, reply: FastifyReply): void {
  if (!request.routeOptions.config.basicAuth) return;
  reply.header('www-authenticate', 'Basic realm="Fairlead API token as password", charset="UTF-8"');
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

/** Writes a row for the first request of a token from an address, not for every one. */
function loginLog(deps: ApiDeps) {
  const seen = new Map<string, number>();
  return async (request: FastifyRequest, principal: Principal): Promise<void> => {
    // The login by password has a row of its own.
    if (principal.tokenId.startsWith('login:')) return;
    const key = `${principal.tokenId} ${request.ip}`;
    const now = deps.clock.now();
    const last = seen.get(key);
    if (last !== undefined && now - last < LOGIN_MS) return;
    seen.delete(key);
    seen.set(key, now);
    for (const oldest of seen.keys()) {
      if (seen.size <= MAX_LOGINS) break;
      seen.delete(oldest);
    }
    await deps.audit.recordOrLog({ actor: principal.name, address: request.ip, action: 'login', result: 'ok' });
  };
}
