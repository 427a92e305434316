/** What all hosts have, side by side: containers, images, volumes, networks. */
import Type, { type Static } from 'typebox';
import { containerList } from '../../shared/messages/container.ts';
import { imageList } from '../../shared/messages/image.ts';
import { networkList } from '../../shared/messages/network.ts';
import { volumeList } from '../../shared/messages/volume.ts';
import type { Api } from './app-types.ts';
import { keyOf as containerKey } from './container-lists.ts';
import { CONTAINER_SELECT, isSelected } from './container-select.ts';
import type { RouteContext } from './context.ts';
import { filtersQuery, readFilters } from './docker-words.ts';
import { answerFanOut, FAN_OUT_QUERY, FanOut } from './fan-out.ts';
import type { KeyOf, ListKind } from './host-lists.ts';
import { keyOf as imageKey } from './images.ts';
import { keyOf as networkKey } from './networks.ts';
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
}

function definedOf<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as never;
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
