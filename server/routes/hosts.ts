/** Hosts: what they are, their names and tags, and how they leave. */
import Type from 'typebox';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { hostInfo } from '../../shared/messages/host.ts';
import { actorOf, scopeOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { clientGone } from './live-streams.ts';
import { HostDetail, HostName, HostParams, HostView, NoContent, PageQuery, pageOf } from './schemas.ts';
import { hostDetail, hostView, pageRequest, pageView } from './views.ts';

const HostChange = Type.Object(
  { name: Type.Optional(HostName), tags: Type.Optional(Tags) },
  { additionalProperties: false, minProperties: 1 },
);
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
        summary: 'Renames a host or replaces its tags',
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
        querystring: PageQuery,
        response: { 200: pageOf(HostView) },
      },
    },
    async (request) => pageView(await deps.hosts.list(pageRequest(request.query), scopeOf(request)), hostView),
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
