/** Who may do what: a default-deny table made of what the routes declare, and what is logged of logins and refusals. */
import type {} from '@fastify/swagger';
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { allows } from '../access/roles.ts';
import type { HostScope } from '../access/scope.ts';
import { keepRecent } from '../keep-recent.ts';
import type { Api, DeclaredRoute } from './app-types.ts';
import { type Authenticator, authenticators, type Credential, nothingShown } from './authenticators.ts';
import type { Actor, Principal } from './deps/caller.ts';
import type { ApiDeps } from './deps.ts';
import { type FailedLogins, failedLogins } from './failed-logins.ts';
import { limitOf } from './limits.ts';
import { refusalLog } from './refusals.ts';
import { RequestRates } from './request-rates.ts';
import { declareScope, guardHosts } from './scope.ts';

/** A token that comes from the same address counts as a new login after this time. */
const LOGIN_MS = 12 * 60 * 60_000;
/** Pairs of token and address that are remembered as logged in. */
const MAX_LOGINS = 10_000;

/** Whom the request's token stands for. Only for routes that are not public. */
export function principalOf(request: FastifyRequest): Principal {
  const { principal } = request;
  if (principal === undefined) throw new Error('a public route has no principal');
  return principal;
}

/** Whom the answer is for: what it lists is to be of hosts in this scope. Undefined: all hosts. */
export function scopeOf(request: FastifyRequest): HostScope | undefined {
  return principalOf(request).scope;
}

/** Who asks, for the audit log. */
export function actorOf(request: FastifyRequest): Actor {
  return { name: principalOf(request).name, address: request.ip };
}

/**
 * Refuses, at startup, a route that does not say who may use it and for which hosts, and writes the answer into its
 * OpenAPI description. @returns its lines in the table of routes
 */
export function declareAccess(route: RouteOptions): DeclaredRoute[] {
  const access = route.config?.access;
  if (access === undefined) throw new Error(`route ${String(route.method)} ${route.url} declares no access`);
  const limits = declareScope(route);
  const schema = route.schema ?? {};
  const security = access === 'public' ? [] : [{ bearer: [] }, { session: [] }, { certificate: [] }];
  const role = access === 'public' ? 'Needs no token.' : `Needs the role ${access}.`;
  const { description } = schema as { description?: string };
  route.schema = { ...schema, security, description: [description, role, limits].filter(Boolean).join(' ') };
  const scope = route.config?.scope ?? 'installation';
  return [route.method].flat().map((method) => ({ method, url: route.url, access, scope }));
}

/** Guards every route that is registered from now on. */
export function guardRoutes(api: Api, deps: ApiDeps): void {
  api.decorateRequest('principal', undefined);
  const declared: DeclaredRoute[] = [];
  api.decorate('declaredRoutes', declared);
  api.addHook('onRoute', (route) => void declared.push(...declareAccess(route)));
  // Apart from those who have no token, so that a flood of theirs hides nothing that a token's holder tries.
  const forbidden = refusalLog(api, deps, { action: 'forbidden', perAddress: 'refusedLoginsPerMinute' });
  const failed = failedLogins(api, deps);
  const rates = new RequestRates(deps.clock, limitOf('requestsPerMinuteOfToken', deps.limits));
  const logins = loginLog(deps);
  const ways = authenticators(deps);
  api.addHook('onRequest', async (request, reply) => {
    if (request.is404 || request.routeOptions.config.access === 'public') return;
    const { principal, forgery } = await authenticate(request, reply, ways, failed);
    rates.take(principal.tokenId);
    const refusal = forgery ?? refusalOf(request, principal);
    if (refusal !== undefined) {
      const action = `${request.method} ${request.routeOptions.url ?? ''}`;
      const detail = forgery === undefined ? {} : { detail: { why: forgery.message } };
      await forbidden(request, { actor: principal.name, address: request.ip, action, result: 'refused', ...detail });
      throw refusal;
    }
    request.principal = principal;
    await logins(request, principal);
  });
  guardHosts(api, deps, forbidden);
}

/** Why `principal` may not use the route. One without declarations cannot be registered; should there be one all the same, nobody may. */
function refusalOf({ routeOptions }: FastifyRequest, { name, role, scope }: Principal): FairleadError | undefined {
  const { access, scope: rule } = routeOptions.config;
  if (access === undefined || access === 'public' || !allows(role, access)) {
    return new FairleadError('FORBIDDEN', `this needs the role ${access}; ${name} has the role ${role}`);
  }
  if (scope === undefined || rule === 'host' || rule === 'filtered' || rule === 'none') return undefined;
  const detail = `this is about the whole installation; ${name} is limited to some hosts`;
  return new FairleadError('FORBIDDEN', detail);
}

interface Authenticated {
  readonly principal: Principal;
  /** Why another site may have made a browser send this. */
  readonly forgery: FairleadError | undefined;
}

/** @throws FairleadError UNAUTHORIZED, RATE_LIMITED */
async function authenticate(
  request: FastifyRequest,
  reply: FastifyReply,
  ways: readonly Authenticator[],
  failed: FailedLogins,
): Promise<Authenticated> {
  const { basicAuth } = request.routeOptions.config;
  if (basicAuth) reply.header('www-authenticate', 'Basic realm="Fairlead API token as password", charset="UTF-8"');
  const credential = firstOf(ways, request, reply);
  if (credential === undefined) throw nothingShown();
  await failed.admit(request);
  try {
    const principal = await credential.check();
    if (basicAuth) reply.removeHeader('www-authenticate');
    return { principal, forgery: credential.forgery?.() };
  } catch (error) {
    if (isFairleadError(error, 'UNAUTHORIZED') || isFairleadError(error, 'TOKEN_INVALID')) await failed.note(request);
    throw error;
  }
}

/** What the first way that finds something finds: what does not count is not made up for by another one. */
function firstOf(ways: readonly Authenticator[], ...asked: Parameters<Authenticator>): Credential | undefined {
  for (const way of ways) {
    const found = way(...asked);
    if (found !== undefined) return found;
  }
  return undefined;
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
    keepRecent(seen, key, now, MAX_LOGINS);
    await deps.audit.recordOrLog({ actor: principal.name, address: request.ip, action: 'login', result: 'ok' });
  };
}
