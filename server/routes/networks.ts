/** Networks of a host: listed, looked at, made, removed, and containers connected to them. */
import Type from 'typebox';
import { ContainerRef } from '../../shared/messages/container.ts';
import {
  networkConnect,
  networkCreate,
  networkDisconnect,
  networkInspect,
  networkList,
  networkRemove,
} from '../../shared/messages/network.ts';
import type { Api } from './app-types.ts';
import { ChangeHeaders, change } from './changes.ts';
import type { RouteContext } from './context.ts';
import { DockerBody, filtersQuery, readDockerBody, readFilters } from './docker-words.ts';
import { answerObject } from './host-answer.ts';
import { answerPage, type KeyOf, listSchema, sortKey } from './host-lists.ts';
import { LONG_CHANGE_MS } from './limits.ts';
import { DockerAnswer, HostParams, NetworkParams, NoContent } from './schemas.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/networks';
/** Docker says when in RFC 3339. */
export const keyOf: KeyOf = ({ Created, Id }) => sortKey(Math.floor(Date.parse(String(Created)) / 1000), Id);

export function networkRoutes(api: Api, context: RouteContext): void {
  readRoutes(api, context);
  createRoute(api, context);
  removeRoute(api, context);
  joinRoutes(api, context);
}

function readRoutes(api: Api, context: RouteContext): void {
  const config = { access: 'viewer', scope: 'host' } as const;
  const verbose = Type.Optional(Type.Boolean({ description: 'With the services of a swarm' }));
  api.get(
    PATH,
    {
      config,
      schema: {
        tags: ['networks'],
        summary: "Lists a host's networks",
        params: HostParams,
        ...listSchema(filtersQuery),
      },
    },
    async (request, reply) => {
      const params = readFilters(request.query.filters);
      return await answerPage(context, request, reply, { kind: networkList, params, keyOf });
    },
  );

  api.get(
    `${PATH}/:network`,
    {
      config,
      schema: {
        tags: ['networks'],
        summary: 'Inspects a network',
        params: NetworkParams,
        querystring: Type.Object({ verbose }, strict),
        response: { 200: DockerAnswer },
      },
    },
    async (request, reply) => {
      const { verbose = false } = request.query;
      return await answerObject(context, request, reply, networkInspect, { id: request.params.network, verbose });
    },
  );
}

function createRoute(api: Api, context: RouteContext): void {
  api.post(
    PATH,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['networks'],
        summary: 'Makes a network',
        params: HostParams,
        headers: ChangeHeaders,
        body: DockerBody,
        response: { 201: Type.Object({ Id: Type.String(), Warning: Type.String() }) },
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      const fields = readDockerBody(body);
      const name = fields.get('name');
      const { id, warning } = await change(context, request, {
        ...{ kind: networkCreate, host: params.host, object: typeof name === 'string' ? name : undefined },
        ...{ params: { config: body }, timeoutMs: LONG_CHANGE_MS },
        detail: { driver: fields.get('driver'), internal: fields.get('internal') },
        judge: (made) => ({ result: 'ok', detail: { id: made.id } }),
      });
      return reply.code(201).send({ Id: id, Warning: warning });
    },
  );
}

function removeRoute(api: Api, context: RouteContext): void {
  api.delete(
    `${PATH}/:network`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['networks'],
        summary: 'Removes a network that no container uses',
        params: NetworkParams,
        headers: ChangeHeaders,
        querystring: Type.Object({}, strict),
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { host, network } = request.params;
      await change(context, request, {
        ...{ kind: networkRemove, host, object: network, params: { id: network }, detail: {} },
      });
      return reply.code(204).send(null);
    },
  );
}

function joinRoutes(api: Api, context: RouteContext): void {
  const shared = { tags: ['networks'], params: NetworkParams, headers: ChangeHeaders, response: { 204: NoContent } };
  const config = { access: 'operator', scope: 'host' } as const;
  const EndpointConfig = Type.Optional(DockerBody);
  api.post(
    `${PATH}/:network/connect`,
    {
      config,
      schema: {
        ...{ ...shared, summary: 'Connects a container to a network' },
        body: Type.Object({ Container: ContainerRef, EndpointConfig }, strict),
      },
    },
    async (request, reply) => {
      const { host, network } = request.params;
      const { Container: container, EndpointConfig: endpoint } = request.body;
      if (endpoint !== undefined) readDockerBody(endpoint);
      const params = { id: network, container, ...(endpoint === undefined ? {} : { endpoint }) };
      await change(context, request, { kind: networkConnect, host, object: network, params, detail: { container } });
      return reply.code(204).send(null);
    },
  );

  api.post(
    `${PATH}/:network/disconnect`,
    {
      config,
      schema: {
        ...{ ...shared, summary: 'Takes a container out of a network' },
        body: Type.Object({ Container: ContainerRef, Force: Type.Optional(Type.Boolean()) }, strict),
      },
    },
    async (request, reply) => {
      const { host, network } = request.params;
      const { Container: container, Force: force = false } = request.body;
      const detail = { container, force };
      await change(context, request, {
        ...{ kind: networkDisconnect, host, object: network, params: { id: network, ...detail }, detail },
      });
      return reply.code(204).send(null);
    },
  );
}
