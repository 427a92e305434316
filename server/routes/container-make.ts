/** Makes containers, renames them, and removes all that are stopped. */
import Type from 'typebox';
import { containerCreate, containerRename } from '../../shared/messages/container.ts';
import { told } from '../docker-proxy/call-facts.ts';
import type { Api } from './app-types.ts';
import { ChangeHeaders, change } from './changes.ts';
import type { RouteContext } from './context.ts';
import { DockerBody, readDockerBody } from './docker-words.ts';
import { LONG_CHANGE_MS } from './limits.ts';
import { ContainerParams, HostParams, NoContent } from './schemas.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/containers';
const { name, platform } = containerCreate.params.properties;

export function containerMakeRoutes(api: Api, context: RouteContext): void {
  createRoute(api, context);
  renameRoute(api, context);
}

function createRoute(api: Api, context: RouteContext): void {
  api.post(
    PATH,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: 'Makes a container of an image that the host has; it is not started',
        params: HostParams,
        headers: ChangeHeaders,
        querystring: Type.Object({ name, platform }, strict),
        body: DockerBody,
        response: { 201: Type.Object({ Id: Type.String(), Warnings: Type.Array(Type.String()) }) },
      },
    },
    async (request, reply) => {
      const { params, query, body } = request;
      const detail = { ...query, ...told(readDockerBody(body)) };
      const { id, warnings } = await change(context, request, {
        ...{ kind: containerCreate, host: params.host, object: query.name },
        ...{ params: { ...query, config: body }, detail, timeoutMs: LONG_CHANGE_MS },
        judge: (made) => ({ result: 'ok', detail: { id: made.id } }),
      });
      return reply.code(201).send({ Id: id, Warnings: warnings });
    },
  );
}

function renameRoute(api: Api, context: RouteContext): void {
  api.post(
    `${PATH}/:container/rename`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: 'Gives a container another name',
        params: ContainerParams,
        headers: ChangeHeaders,
        body: Type.Object({ name: containerRename.params.properties.name }, strict),
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { host, container } = request.params;
      const { name } = request.body;
      const params = { id: container, name };
      await change(context, request, { kind: containerRename, host, object: container, params, detail: { name } });
      return reply.code(204).send(null);
    },
  );
}
