/** API tokens, and who a token is. */
import Type from 'typebox';
import type { HostScope } from '../access/scope.ts';
import { actorOf, principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext, RouteDeps } from './context.ts';
import { futureTime, Overlap } from './expiry-times.ts';
import {
  ApiTokenView,
  IdParams,
  Instant,
  Label,
  NoContent,
  PageQuery,
  pageOf,
  RoleName,
  SCOPE_LISTS,
  ScopeView,
} from './schemas.ts';
import { apiTokenView, instant, madeTokenView, pageRequest, pageView, scopeView } from './views.ts';

const NewToken = Type.Object(
  {
    name: Label,
    role: RoleName,
    expiresAt: Type.Optional(Type.String({ maxLength: 40, description: 'RFC 3339; absent: never' })),
    ...SCOPE_LISTS,
  },
  { additionalProperties: false },
);
const Created = Type.Object({
  id: Type.String(),
  token: Type.String({ description: 'Shown this once' }),
  name: Type.String(),
  role: RoleName,
  scope: ScopeView,
  expiresAt: Type.Union([Instant, Type.Null()]),
});
const Rotated = Type.Object({
  ...Created.properties,
  replacedEndsAt: { ...Instant, description: 'When the token that it replaces ends' },
});
export function apiTokenRoutes(api: Api, { deps }: RouteContext): void {
  whoamiRoute(api, deps);
  rotateRoute(api, deps);

  api.post(
    '/api/v1/api-tokens',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: { tags: ['api-tokens'], summary: 'Makes an API token', body: NewToken, response: { 201: Created } },
    },
    async (request, reply) => {
      const { expiresAt, ...rest } = request.body;
      const expiry = expiresAt === undefined ? {} : { expiresAt: futureTime(expiresAt, deps.clock.now()) };
      const made = await deps.apiTokens.create({ ...rest, ...expiry }, actorOf(request));
      return reply.code(201).send(madeTokenView(made, await namesIn(deps, [made.scope])));
    },
  );

  api.get(
    '/api/v1/api-tokens',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['api-tokens'],
        summary: 'Lists API tokens, without their secrets',
        querystring: PageQuery,
        response: { 200: pageOf(ApiTokenView) },
      },
    },
    async ({ query }) => {
      const page = await deps.apiTokens.list(pageRequest(query));
      const names = await namesIn(
        deps,
        page.items.map(({ scope }) => scope),
      );
      return pageView(page, (row) => apiTokenView(row, names));
    },
  );

  api.delete(
    '/api/v1/api-tokens/:id',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['api-tokens'],
        summary: 'Revokes an API token; its open streams end within a second',
        params: IdParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.apiTokens.revoke(request.params.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );
}

function rotateRoute(api: Api, deps: RouteDeps): void {
  api.post(
    '/api/v1/api-tokens/:id/rotate',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['api-tokens'],
        summary: 'Makes a token like this one, which ends at once or after an overlap, its open streams with it',
        params: IdParams,
        body: Overlap,
        response: { 201: Rotated },
      },
    },
    async (request, reply) => {
      const overlap = request.body?.overlapSeconds ?? 0;
      const made = await deps.apiTokens.rotate(request.params.id, overlap, actorOf(request));
      const view = madeTokenView(made, await namesIn(deps, [made.scope]));
      return reply.code(201).send({ ...view, replacedEndsAt: instant(made.replacedEndsAt) });
    },
  );
}

/** The names of the hosts in `scopes`. */
function namesIn(
  { hosts }: Pick<RouteDeps, 'hosts'>,
  scopes: readonly (HostScope | null | undefined)[],
): Promise<ReadonlyMap<string, string>> {
  return hosts.names(scopes.flatMap((scope) => scope?.hosts ?? []));
}

function whoamiRoute(api: Api, deps: RouteDeps): void {
  api.get(
    '/api/v1/whoami',
    {
      config: { access: 'viewer', scope: 'none' },
      schema: {
        tags: ['api-tokens'],
        summary: 'Says whose token this is',
        response: {
          200: Type.Object({
            tokenId: Type.String(),
            name: Type.String(),
            role: RoleName,
            scope: ScopeView,
            serverVersion: Type.String(),
          }),
        },
      },
    },
    async (request) => {
      const { tokenId, name, role, scope } = principalOf(request);
      const names = await namesIn(deps, [scope]);
      return { tokenId, name, role, scope: scopeView(scope, names), serverVersion: deps.version };
    },
  );
}
