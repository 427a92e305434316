/** One container: look at it and change it, in Docker's own words. */
import Type, { type TProperties } from 'typebox';
import {
  containerInspect,
  containerKill,
  containerPause,
  containerRemove,
  containerRestart,
  containerStart,
  containerStop,
  containerTop,
  containerUnpause,
} from '../../shared/messages/container.ts';
import type { Params, StreamKind } from '../../shared/messages/kind.ts';
import type { Api } from './app-types.ts';
import { ChangeHeaders, change } from './changes.ts';
import type { RouteContext } from './context.ts';
import { answerObject } from './host-answer.ts';
import { CHANGE_MS, MAX_CHANGE_MS, STOP_MS } from './limits.ts';
import { ContainerParams, DockerAnswer, NoContent } from './schemas.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/containers/:container';

const StopQuery = Type.Object(
  { t: Type.Optional(Type.Integer({ minimum: -1, maximum: 3600, description: 'Seconds before it is killed' })) },
  strict,
);
const KillQuery = Type.Object({ signal: Type.Optional(containerKill.params.properties.signal) }, strict);
const NoQuery = Type.Object({}, strict);

export function containerRoutes(api: Api, context: RouteContext): void {
  readRoutes(api, context);
  removeRoute(api, context);
  const plain = () => ({});
  changeRoute(api, context, 'start', containerStart, NoQuery, plain);
  changeRoute(api, context, 'pause', containerPause, NoQuery, plain);
  changeRoute(api, context, 'unpause', containerUnpause, NoQuery, plain);
  changeRoute(api, context, 'kill', containerKill, KillQuery, (query: { signal?: string }) => query);
  const stop = ({ t }: { t?: number }) => (t === undefined ? {} : { timeoutSeconds: t });
  changeRoute(api, context, 'stop', containerStop, StopQuery, stop);
  changeRoute(api, context, 'restart', containerRestart, StopQuery, stop);
}

function readRoutes(api: Api, context: RouteContext): void {
  api.get(
    PATH,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: 'Inspects a container',
        params: ContainerParams,
        querystring: NoQuery,
        response: { 200: DockerAnswer },
      },
    },
    async (request, reply) =>
      await answerObject(context, request, reply, containerInspect, { id: request.params.container }),
  );

  api.get(
    `${PATH}/top`,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: "Lists a container's processes",
        params: ContainerParams,
        querystring: Type.Object({ ps_args: containerTop.params.properties.psArgs }, strict),
        response: { 200: DockerAnswer },
      },
    },
    async (request, reply) => {
      const { ps_args } = request.query;
      const params = { id: request.params.container, ...(ps_args === undefined ? {} : { psArgs: ps_args }) };
      return await answerObject(context, request, reply, containerTop, params);
    },
  );
}

function removeRoute(api: Api, context: RouteContext): void {
  const flag = (description: string) => Type.Optional(Type.Boolean({ description }));
  api.delete(
    PATH,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: 'Removes a container',
        params: ContainerParams,
        headers: ChangeHeaders,
        querystring: Type.Object(
          {
            force: flag('A running one, too'),
            volumes: flag('Its anonymous volumes, too'),
            v: flag("Docker's own word for volumes"),
          },
          strict,
        ),
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { force, volumes, v } = request.query;
      const { host, container } = request.params;
      const detail = { force: force ?? false, volumes: volumes ?? v ?? false };
      const params = { id: container, ...detail };
      await change(context, request, { kind: containerRemove, host, object: container, params, detail });
      return reply.code(204).send(null);
    },
  );
}

/** The kinds that change a container and answer with nothing. */
export type ContainerChangeKind = StreamKind & { readonly params: typeof containerStart.params };

function changeRoute<P extends TProperties, Q>(
  api: Api,
  context: RouteContext,
  verb: string,
  kind: ContainerChangeKind,
  querystring: Type.TObject<P>,
  toParams: (query: Q) => Record<string, unknown>,
): void {
  api.post(
    `${PATH}/${verb}`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: `${verb[0]?.toUpperCase()}${verb.slice(1)}s a container`,
        params: ContainerParams,
        headers: ChangeHeaders,
        querystring,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { host, container } = request.params;
      const detail = toParams(request.query as Q);
      const params = { id: container, ...detail } as Params<ContainerChangeKind>;
      const timeoutMs = timeoutOf(kind, detail);
      await change(context, request, { kind, host, object: container, params, detail, timeoutMs });
      return reply.code(204).send(null);
    },
  );
}

/** How long Docker may take: what it waits for the container by itself, and some time for its own work. */
export function timeoutOf(kind: ContainerChangeKind, { timeoutSeconds }: Record<string, unknown>): number {
  if (kind.name !== 'container.stop' && kind.name !== 'container.restart') return CHANGE_MS;
  if (typeof timeoutSeconds !== 'number') return STOP_MS;
  return timeoutSeconds < 0 ? MAX_CHANGE_MS : timeoutSeconds * 1000 + CHANGE_MS;
}
