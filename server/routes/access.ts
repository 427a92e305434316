/** Who may do what: a default-deny table made of what the routes declare, bearer tokens, and what is logged of refusals. */
import type {} from '@fastify/swagger';
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { allows } from '../access/roles.ts';
import { keepRecent } from '../keep-recent.ts';
import type { Api } from './app-types.ts';
import type { Actor, ApiDeps, Principal } from './deps.ts';
import { refusalLog } from './refusals.ts';

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
  const security = access === 'public' ? [] : [{ bearer: [] }];
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
    const principal = await authenticate(request, reply, deps).catch(async (error: unknown) => {
      if (isFairleadError(error, 'UNAUTHORIZED') || isFairleadError(error, 'TOKEN_INVALID')) {
        if (request.headers.authorization !== undefined)
          await refusedLogin(request, { actor: 'anonymous', address: request.ip, action: 'login', result: 'refused' });
      }
      throw error;
    });
    // A route without access cannot be registered; should one exist all the same, nobody may use it.
    if (access === undefined || !allows(principal.role, access)) {
      const action = `${request.method} ${request.routeOptions.url ?? ''}`;
      await forbidden(request, { actor: principal.name, address: request.ip, action, result: 'refused' });
      const detail = `this needs the role ${access}; the token ${principal.name} has the role ${principal.role}`;
      throw new FairleadError('FORBIDDEN', detail);
    }
    request.principal = principal;
    await logins(request, principal);
  });
}

async function authenticate(request: FastifyRequest, reply: FastifyReply, deps: ApiDeps): Promise<Principal> {
  const { basicAuth } = request.routeOptions.config;
  if (basicAuth) reply.header('www-authenticate', 'Basic realm="Fairlead API token as password", charset="UTF-8"');
  const token = bearer(request.headers.authorization) ?? (basicAuth ? basic(request.headers.authorization) : undefined);
  if (token === undefined) {
    throw new FairleadError('UNAUTHORIZED', 'this needs an API token, in a header `Authorization: Bearer TOKEN`');
  }
  const principal = await deps.apiTokens.authenticate(token);
  if (basicAuth) reply.removeHeader('www-authenticate');
  return principal;
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
    const key = `${principal.tokenId} ${request.ip}`;
    const now = deps.clock.now();
    const last = seen.get(key);
    if (last !== undefined && now - last < LOGIN_MS) return;
    keepRecent(seen, key, now, MAX_LOGINS);
    await deps.audit.recordOrLog({ actor: principal.name, address: request.ip, action: 'login', result: 'ok' });
  };
}
