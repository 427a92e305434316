/** What all hosts have, side by side: containers, images, volumes, networks, stacks. */
import Type, { type Static } from 'typebox';
import { containerList } from '../../shared/messages/container.ts';
import { imageList } from '../../shared/messages/image.ts';
import { networkList } from '../../shared/messages/network.ts';
import { volumeList } from '../../shared/messages/volume.ts';
import type { Api } from './app-types.ts';
import { keyOf as containerKey } from './container-lists.ts';
import { CONTAINER_SELECT, isOneOf, isSelected } from './container-select.ts';
import type { RouteContext } from './context.ts';
import { definedOf } from './defined.ts';
import { filtersQuery, readFilters } from './docker-words.ts';
import { answerAll, answerFanOut, FAN_OUT_QUERY, FanOut, HOST_SELECT, OF_HOST, Unreachable } from './fan-out.ts';
import { textOf } from './host-answer.ts';
import type { KeyOf, ListKind } from './host-lists.ts';
import { keyOf as imageKey } from './images.ts';
import { keyOf as networkKey } from './networks.ts';
import { StackView } from './stack-schemas.ts';
import { stacksOf } from './stacks.ts';
import { keyOf as volumeKey } from './volumes.ts';

const strict = { additionalProperties: false };

const ContainersQuery = Type.Object(
  {
    ...FAN_OUT_QUERY,
    ...CONTAINER_SELECT,
    all: Type.Optional(Type.Boolean({ description: 'Stopped containers, too, as when states are named' })),
  },
  strict,
);
const ObjectsQuery = Type.Object({ ...FAN_OUT_QUERY, ...filtersQuery }, strict);
const StacksQuery = Type.Object({ ...HOST_SELECT, name: CONTAINER_SELECT.name }, strict);
const FleetStacks = Type.Object({
  items: Type.Array(Type.Object({ ...StackView.properties, ...OF_HOST })),
  unreachable: Type.Array(Unreachable),
});

export function fleetListRoutes(api: Api, context: RouteContext): void {
  api.get(
    '/api/v1/containers',
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['containers'],
        summary: 'Lists the containers of all hosts, and says which hosts did not answer',
        querystring: ContainersQuery,
        response: { 200: FanOut },
      },
    },
    async (request, reply) => {
      const { name, image, state, label, all = state !== undefined } = request.query;
      const select = definedOf({ name, image, state, label });
      return await answerFanOut(context, request, reply, {
        ...{ kind: containerList, params: { all }, keyOf: containerKey },
        select: (container) => isSelected(container, select),
      });
    },
  );
  objectsRoute(api, context, 'images', imageList, imageKey);
  objectsRoute(api, context, 'volumes', volumeList, volumeKey);
  objectsRoute(api, context, 'networks', networkList, networkKey);
  stacksRoute(api, context);
}

function stacksRoute(api: Api, context: RouteContext): void {
  api.get(
    '/api/v1/stacks',
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['stacks'],
        summary: 'Lists the stacks of all hosts by name, and says which hosts did not answer',
        querystring: StacksQuery,
        response: { 200: FleetStacks },
      },
    },
    async (request, reply) => {
      const { name } = request.query;
      return await answerAll(context, request, reply, async ({ host, hostId }, link, held, signal) => {
        const stacks = await stacksOf(context.deps, link, signal);
        return stacks
          .filter((stack) => name === undefined || isOneOf(name, [stack.name]))
          .map((stack) => {
            const text = textOf(held, hostId, { ...stack, host, hostId });
            return { created: 0, id: `${stack.name} ${host}`, text };
          });
      });
    },
  );
}

type ObjectKind = typeof imageList | typeof volumeList | typeof networkList;

function objectsRoute(api: Api, context: RouteContext, what: string, kind: ObjectKind, keyOf: KeyOf): void {
  api.get(
    `/api/v1/${what}`,
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: [what],
        summary: `Lists the ${what} of all hosts, and says which hosts did not answer`,
        querystring: ObjectsQuery,
        response: { 200: FanOut },
      },
    },
    async (request, reply) => {
      const params = readFilters((request.query as Static<typeof ObjectsQuery>).filters);
      return await answerFanOut(context, request, reply, { kind: kind as ListKind, params, keyOf });
    },
  );
}
