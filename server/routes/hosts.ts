/** Hosts: what they are, their names and tags, and how they leave. */
import Type, { type Static } from 'typebox';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { hostInfo } from '../../shared/messages/host.ts';
import type { HostFilter } from '../hosts/host-filter.ts';
import { actorOf, scopeOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { clientGone } from './live-streams.ts';
import { HostDetail, HostName, HostParams, HostView, NoContent, PAGE_QUERY, pageOf } from './schemas.ts';
import { hostDetail, hostView, pageRequest, pageView } from './views.ts';

const HostChange = Type.Object(
  {
    name: Type.Optional(HostName),
    tags: Type.Optional(Tags),
    addTags: Type.Optional(Tags),
    removeTags: Type.Optional(Tags),
  },
  { additionalProperties: false, minProperties: 1 },
);
const HostsQuery = Type.Object(
  {
    ...PAGE_QUERY,
    tag: Type.Optional(Type.Array(Tags.items, { maxItems: 32, description: 'With all of these tags' })),
    state: Type.Optional(Type.Array(HostView.properties.state, { maxItems: 4, description: 'In one of these states' })),
    name: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        pattern: '^[A-Za-z0-9._*?-]+$',
        description: '* and ? stand for others',
      }),
    ),
    os: Type.Optional(Type.String({ minLength: 1, maxLength: 32, pattern: '^[A-Za-z0-9._-]+$' })),
  },
  { additionalProperties: false },
);

/** Undefined where nothing narrows the list down. */
function filterOf({ tag, state, name, os }: Static<typeof HostsQuery>): HostFilter | undefined {
  if (tag === undefined && state === undefined && name === undefined && os === undefined) return undefined;
  return {
    ...(tag === undefined ? {} : { tags: tag }),
    ...(state === undefined ? {} : { states: state }),
    ...(name === undefined ? {} : { name }),
    ...(os === undefined ? {} : { os }),
  };
}

/** What a revocation may say. */
export const RevokeBody = Type.Union([
  Type.Object({ reason: Type.Optional(Type.String({ maxLength: MAX_REASON_CHARS })) }, { additionalProperties: false }),
  Type.Null(),
]);
/** The reason of a revocation that names none. */
export const NO_REASON = 'no reason given';

export function hostRoutes(api: Api, { deps, links }: RouteContext): void {
  readRoutes(api, { deps, links });

  api.patch(
    '/api/v1/hosts/:host',
    {
      // Names and tags decide what others see: a tag may bring a host into a scope, and a name that is taken shows it.
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['hosts'],
        summary: 'Renames a host, replaces its tags, or adds some and takes some away',
        params: HostParams,
        body: HostChange,
        response: { 200: HostView },
      },
    },
    async (request) => hostView(await deps.hosts.update(request.params.host, request.body, actorOf(request))),
  );

  api.delete(
    '/api/v1/hosts/:host',
    {
      config: { access: 'admin', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: 'Revokes a host and forgets it',
        params: HostParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await deps.hosts.remove(request.params.host, actorOf(request));
      return reply.code(204).send(null);
    },
  );

  api.post(
    '/api/v1/hosts/:host/revoke',
    {
      config: { access: 'admin', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: "Revokes a host's certificates and closes its session at once",
        params: HostParams,
        body: RevokeBody,
        response: { 200: HostView },
      },
    },
    async (request) => {
      // By id, since the name is the caller's only until someone gives it to another host.
      const { id } = await deps.hosts.get(request.params.host);
      await deps.hosts.revoke(id, request.body?.reason || NO_REASON, actorOf(request));
      return hostView(await deps.hosts.get(id));
    },
  );
}

function readRoutes(api: Api, { deps, links }: Pick<RouteContext, 'deps' | 'links'>): void {
  api.get(
    '/api/v1/hosts',
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['hosts'],
        summary: 'Lists hosts',
        querystring: HostsQuery,
        response: { 200: pageOf(HostView) },
      },
    },
    async (request) => {
      const page = pageRequest(request.query);
      return pageView(await deps.hosts.list(page, scopeOf(request), filterOf(request.query)), hostView);
    },
  );

  api.get(
    '/api/v1/hosts/:host',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: 'Shows a host, and what its session has measured of the way to it',
        params: HostParams,
        response: { 200: HostDetail },
      },
    },
    async ({ params }) => hostDetail(await deps.hosts.get(params.host)),
  );

  api.get(
    '/api/v1/hosts/:host/info',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['hosts'],
        summary: 'Asks a host about its machine and its Docker',
        params: HostParams,
        response: { 200: hostInfo.reply },
      },
    },
    async (request, reply) => {
      const leaving = new AbortController();
      reply.raw.once('close', () => leaving.abort(clientGone()));
      const link = await links.to(request, request.params.host);
      return await link.call(hostInfo, {}, { signal: leaving.signal });
    },
  );
}
