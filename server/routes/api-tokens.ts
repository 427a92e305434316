/** API tokens, and who a token is. */
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { actorOf, principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { ApiTokenView, IdParams, Instant, Label, NoContent, PageQuery, pageOf, RoleName } from './schemas.ts';
import { apiTokenView, instant, pageRequest, pageView } from './views.ts';

const NewToken = Type.Object(
  {
    name: Label,
    role: RoleName,
    expiresAt: Type.Optional(Type.String({ maxLength: 40, description: 'RFC 3339; absent: never' })),
  },
  { additionalProperties: false },
);
const Created = Type.Object({
  id: Type.String(),
  token: Type.String({ description: 'Shown this once' }),
  name: Type.String(),
  role: RoleName,
  expiresAt: Type.Union([Instant, Type.Null()]),
});

export function apiTokenRoutes(api: Api, { deps }: RouteContext): void {
  whoamiRoute(api, deps.version);

  api.post(
    '/api/v1/api-tokens',
    {
      config: { access: 'admin' },
      schema: { tags: ['api-tokens'], summary: 'Makes an API token', body: NewToken, response: { 201: Created } },
    },
    async (request, reply) => {
      const { name, role, expiresAt } = request.body;
      const expiry = expiresAt === undefined ? {} : { expiresAt: futureTime(expiresAt, deps.clock.now()) };
      const made = await deps.apiTokens.create({ name, role, ...expiry }, actorOf(request));
      const until = expiry.expiresAt === undefined ? null : instant(expiry.expiresAt);
      return reply.code(201).send({ id: made.id, token: made.token, name, role, expiresAt: until });
    },
  );

  api.get(
    '/api/v1/api-tokens',
    {
      config: { access: 'admin' },
      schema: {
        tags: ['api-tokens'],
        summary: 'Lists API tokens, without their secrets',
        querystring: PageQuery,
        response: { 200: pageOf(ApiTokenView) },
      },
    },
    async ({ query }) => pageView(await deps.apiTokens.list(pageRequest(query)), apiTokenView),
  );

  api.delete(
    '/api/v1/api-tokens/:id',
    {
      config: { access: 'admin' },
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

function whoamiRoute(api: Api, version: string): void {
  api.get(
    '/api/v1/whoami',
    {
      config: { access: 'viewer' },
      schema: {
        tags: ['api-tokens'],
        summary: 'Says whose token this is',
        response: {
          200: Type.Object({
            tokenId: Type.String(),
            name: Type.String(),
            role: RoleName,
            serverVersion: Type.String(),
          }),
        },
      },
    },
    async (request) => {
      const { tokenId, name, role } = principalOf(request);
      return { tokenId, name, role, serverVersion: version };
    },
  );
}

function futureTime(text: string, now: number): number {
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/i.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (Number.isNaN(time)) throw new FairleadError('VALIDATION', 'expiresAt is not valid: it must be an RFC 3339 time');
  if (time <= now) throw new FairleadError('VALIDATION', 'expiresAt is not valid: it is not in the future');
  return time;
}
