/** Tokens by which agents of Hawser connect. */
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext, RouteDeps } from './context.ts';
import type { HawserTokenRecord, MadeHawserToken } from './deps/hawser.ts';
import { futureTime, Overlap } from './expiry-times.ts';
import { HostRef, IdParams, Instant, Label, NoContent, PageQuery, pageOf, RowId, Text } from './schemas.ts';
import { instant, instantOrNull, pageRequest, pageView } from './views.ts';

const PATH = '/api/hawser/tokens';
const nullable = <const S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);

const NewToken = Type.Object(
  {
    name: Label,
    host: Type.Optional({ ...HostRef, description: 'A host of Hawser; absent: the token makes one of its own name' }),
    expiresAt: Type.Optional(Type.String({ maxLength: 40, description: 'RFC 3339; absent: never' })),
  },
  { additionalProperties: false },
);

export const HawserTokenView = Type.Object({
  id: Text,
  name: Text,
  prefix: Type.String({ description: 'What the token begins with' }),
  state: Type.Union([Type.Literal('active'), Type.Literal('expired'), Type.Literal('revoked')]),
  connected: Type.Boolean({ description: 'Whether an agent is connected by it' }),
  host: Type.Union([Type.Object({ id: Text, name: nullable(Text) }), Type.Null()], {
    description: 'null: it has not made one yet',
  }),
  createdBy: Text,
  createdAt: Instant,
  expiresAt: nullable(Instant),
  lastUsedAt: nullable(Instant),
  lastUsedAddress: nullable(Text),
  revokedAt: nullable(Instant),
  replacedBy: Type.Union([Text, Type.Null()], { description: 'The id of the token that took its place' }),
});
export type HawserTokenView = Type.Static<typeof HawserTokenView>;

const Created = Type.Object({
  ...HawserTokenView.properties,
  tokenId: Type.String({ description: 'The id, as Dockhand calls it' }),
  token: Type.String({ description: 'Shown this once' }),
  connectUrl: Type.String({ description: "For the agent's DOCKHAND_SERVER_URL" }),
});
const Rotated = Type.Object({
  ...Created.properties,
  replacedEndsAt: { ...Instant, description: 'When the token that it replaces ends' },
});

export function hawserTokenRoutes(api: Api, { deps }: RouteContext): void {
  const { tokens } = deps.hawser;
  const common = { config: { access: 'admin', scope: 'installation' } } as const;
  api.post(
    PATH,
    {
      ...common,
      schema: {
        tags: ['hawser'],
        summary: 'Makes a token for an agent of Hawser',
        body: NewToken,
        response: { 201: Created },
      },
    },
    async (request, reply) => {
      const { expiresAt, ...rest } = request.body;
      const expiry = expiresAt === undefined ? {} : { expiresAt: futureTime(expiresAt, deps.clock.now()) };
      return reply.code(201).send(madeView(deps, await tokens.create({ ...rest, ...expiry }, actorOf(request))));
    },
  );

  api.get(
    PATH,
    {
      ...common,
      schema: {
        tags: ['hawser'],
        summary: 'Lists tokens for agents of Hawser, without their secrets',
        querystring: PageQuery,
        response: { 200: pageOf(HawserTokenView) },
      },
    },
    async ({ query }) => pageView(await tokens.list(pageRequest(query)), tokenView(deps)),
  );

  const revokes = { tags: ['hawser'], summary: 'Revokes a token; its agent is cut off at once' };
  api.delete(
    `${PATH}/:id`,
    { ...common, schema: { ...revokes, params: IdParams, response: { 204: NoContent } } },
    async (request, reply) => {
      await tokens.revoke(request.params.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );
  api.delete(
    PATH,
    {
      ...common,
      schema: {
        ...revokes,
        querystring: Type.Object({ id: RowId }, { additionalProperties: false }),
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await tokens.revoke(request.query.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );

  api.post(
    `${PATH}/:id/rotate`,
    {
      ...common,
      schema: {
        tags: ['hawser'],
        summary: 'Makes a token like this one, which ends at once or after an overlap, its session with it',
        params: IdParams,
        body: Overlap,
        response: { 201: Rotated },
      },
    },
    async (request, reply) => {
      const made = await tokens.rotate(request.params.id, request.body?.overlapSeconds ?? 0, actorOf(request));
      return reply.code(201).send({ ...madeView(deps, made), replacedEndsAt: instant(made.replacedEndsAt) });
    },
  );
}

function madeView(deps: RouteDeps, made: MadeHawserToken) {
  const url = new URL('/api/hawser/connect', deps.urls().apiUrl);
  url.protocol = url.protocol === 'http:' ? 'ws:' : 'wss:';
  return { ...tokenView(deps)(made), tokenId: made.id, token: made.token, connectUrl: url.href };
}

function tokenView({ clock, hawser }: RouteDeps): (row: HawserTokenRecord) => HawserTokenView {
  const connected = new Set(hawser.edge?.connections().map(({ tokenId }) => tokenId));
  return (row) => ({
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    state: stateOf(row, clock.now()),
    connected: connected.has(row.id),
    host: row.hostId ? { id: row.hostId, name: row.hostName ?? null } : null,
    createdBy: row.createdBy,
    createdAt: instant(row.createdAt),
    expiresAt: instantOrNull(row.expiresAt),
    lastUsedAt: instantOrNull(row.lastUsedAt),
    lastUsedAddress: row.lastUsedAddress ?? null,
    revokedAt: instantOrNull(row.revokedAt),
    replacedBy: row.replacedBy ?? null,
  });
}

function stateOf({ revokedAt, expiresAt }: HawserTokenRecord, now: number): HawserTokenView['state'] {
  if (revokedAt !== undefined && revokedAt !== null) return 'revoked';
  return typeof expiresAt === 'number' && expiresAt <= now ? 'expired' : 'active';
}

/** What is answered where agents of Hawser may not connect. */
export function hawserIsOff(): FairleadError {
  return new FairleadError('NOT_FOUND', 'agents of Hawser may not connect here: start the server with --hawser on');
}
