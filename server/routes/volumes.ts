/** Volumes of a host: listed, looked at, made and removed. */
import Type from 'typebox';
import { volumeCreate, volumeInspect, volumeList, volumeRemove } from '../../shared/messages/volume.ts';
import type { Api } from './app-types.ts';
import { ChangeHeaders, change } from './changes.ts';
import type { RouteContext } from './context.ts';
import { DockerBody, filtersQuery, readDockerBody, readFilters } from './docker-words.ts';
import { answerObject } from './host-answer.ts';
import { answerPage, type KeyOf, listSchema, sortKey } from './host-lists.ts';
import { LONG_CHANGE_MS } from './limits.ts';
import { DockerAnswer, HostParams, NoContent, VolumeParams } from './schemas.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/volumes';
/** By name: Docker does not know of each when it was made. */
export const keyOf: KeyOf = ({ Name }) => sortKey(0, Name);

export function volumeRoutes(api: Api, context: RouteContext): void {
  readRoutes(api, context);
  createRoute(api, context);
  removeRoute(api, context);
}

function readRoutes(api: Api, context: RouteContext): void {
  const config = { access: 'viewer', scope: 'host' } as const;
  api.get(
    PATH,
    {
      config,
      schema: { tags: ['volumes'], summary: "Lists a host's volumes", params: HostParams, ...listSchema(filtersQuery) },
    },
    async (request, reply) => {
      const params = readFilters(request.query.filters);
      return await answerPage(context, request, reply, { kind: volumeList, params, keyOf });
    },
  );

  api.get(
    `${PATH}/:volume`,
    {
      config,
      schema: {
        tags: ['volumes'],
        summary: 'Inspects a volume',
        params: VolumeParams,
        querystring: Type.Object({}, strict),
        response: { 200: DockerAnswer },
      },
    },
    async (request, reply) => await answerObject(context, request, reply, volumeInspect, { id: request.params.volume }),
  );
}

function createRoute(api: Api, context: RouteContext): void {
  api.post(
    PATH,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['volumes'],
        summary: 'Makes a volume; one of that name that is there already is the answer, too',
        params: HostParams,
        headers: ChangeHeaders,
        body: DockerBody,
        response: { 201: DockerAnswer },
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      const fields = readDockerBody(body);
      const name = fields.get('name');
      const made = await change(context, request, {
        ...{ kind: volumeCreate, host: params.host, object: typeof name === 'string' && name ? name : undefined },
        ...{ params: { config: body }, timeoutMs: LONG_CHANGE_MS },
        // Options of a driver may have a password among them.
        detail: { driver: fields.get('driver') },
        judge: ({ Name }) => ({ result: 'ok', detail: { name: Name } }),
      });
      return reply.code(201).send(made);
    },
  );
}

function removeRoute(api: Api, context: RouteContext): void {
  const force = Type.Optional(Type.Boolean({ description: 'Also if its driver says that it is gone' }));
  api.delete(
    `${PATH}/:volume`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['volumes'],
        summary: 'Removes a volume that no container uses, and what is in it',
        params: VolumeParams,
        headers: ChangeHeaders,
        querystring: Type.Object({ force }, strict),
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { host, volume } = request.params;
      const { force = false } = request.query;
      await change(context, request, {
        ...{ kind: volumeRemove, host, object: volume, params: { id: volume, force }, detail: { force } },
        timeoutMs: LONG_CHANGE_MS,
      });
      return reply.code(204).send(null);
    },
  );
}
