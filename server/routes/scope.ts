/** Tokens that are limited to some hosts: what each route declares about them, and the guard of routes about one host. */
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { isFairleadError } from '../../shared/errors.ts';
import type { Access, Api, ScopeRule } from './app-types.ts';
import type { AuditEntry } from './deps/audit.ts';
import type { ApiDeps } from './deps.ts';

const RULES: Readonly<Record<ScopeRule, string>> = {
  host: 'A token with a scope may use it for hosts in it; others do not exist for it.',
  filtered: 'A token with a scope sees what is of hosts in it.',
  none: '',
  installation: 'Not for tokens with a scope: it is about the whole installation.',
};

/**
 * What a route declares about tokens with a scope, as a sentence for its description.
 * @throws Error for a route that declares nothing, or what cannot hold for its path and access
 */
export function declareScope({ method, url, config }: RouteOptions): string {
  const { scope, access } = config ?? {};
  const route = `route ${String(method)} ${url}`;
  if (scope === undefined || !Object.hasOwn(RULES, scope)) {
    throw new Error(
      `${route} declares no scope: say in its config \`scope: 'host'\` (about the :host in its path), 'filtered' (its ` +
        "handler leaves out what the caller may not see), 'none' (public, or about the caller alone) or 'installation' " +
        '(about all of it: refused to tokens that are limited to some hosts)',
    );
  }
  const wrong = contradiction(scope, access, url.split('/').includes(':host'));
  if (wrong !== undefined) throw new Error(`${route} declares scope '${scope}', but ${wrong}`);
  return RULES[scope];
}

function contradiction(scope: ScopeRule, access: Access | undefined, hasHost: boolean): string | undefined {
  if (access === 'public') return scope === 'none' ? undefined : "it is public: say 'none'";
  if (scope === 'host') return hasHost ? undefined : 'its path has no :host';
  if (hasHost && scope !== 'installation') return "its path has a :host: say 'host' or 'installation'";
  return undefined;
}

/**
 * Guards the routes about one host, once their schemas are checked: to a token with a scope, a host outside of it is one
 * that does not exist. From here on the request names its host by id, so that a rename changes nothing of what it is about.
 */
export function guardHosts(
  api: Api,
  { hosts }: Pick<ApiDeps, 'hosts'>,
  refused: (request: FastifyRequest, entry: AuditEntry) => Promise<void>,
): void {
  api.addHook('preHandler', async (request: FastifyRequest, _reply: FastifyReply) => {
    if (request.is404 || request.routeOptions.config.scope !== 'host') return;
    const { principal } = request;
    if (principal?.scope === undefined) return;
    const params = request.params as { host: string };
    const hostId = await hosts.idInScope(params.host, principal.scope).catch(async (error: unknown) => {
      if (isFairleadError(error, 'HOST_NOT_FOUND')) {
        const action = `${request.method} ${request.routeOptions.url ?? ''}`;
        const entry = { actor: principal.name, address: request.ip, action, target: params.host };
        await refused(request, { ...entry, result: 'refused', detail: { code: error.code } });
      }
      throw error;
    });
    params.host = hostId;
    request.principal = { ...principal, hostId };
  });
}
