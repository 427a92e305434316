/** Images of a host: listed, looked at, named and removed. */
import Type from 'typebox';
import { imageInspect, imageList, imageRemove, imageTag, RemovedImages } from '../../shared/messages/image.ts';
import type { Api } from './app-types.ts';
import { ChangeHeaders, change } from './changes.ts';
import type { RouteContext } from './context.ts';
import { filtersQuery, readFilters } from './docker-words.ts';
import { answerObject } from './host-answer.ts';
import { answerPage, type KeyOf, listSchema, sortKey } from './host-lists.ts';
import { LONG_CHANGE_MS } from './limits.ts';
import { DockerAnswer, HostParams, ImageParams, NoContent } from './schemas.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/images';
export const keyOf: KeyOf = ({ Created, Id }) => sortKey(Created, Id);
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));

export function imageRoutes(api: Api, context: RouteContext): void {
  readRoutes(api, context);
  removeRoute(api, context);
  tagRoute(api, context);
}

function readRoutes(api: Api, context: RouteContext): void {
  const config = { access: 'viewer', scope: 'host' } as const;
  const query = {
    all: flag('Intermediate layers, too'),
    digests: flag('With the digests of their names'),
    ...filtersQuery,
  };
  api.get(
    PATH,
    {
      config,
      schema: { tags: ['images'], summary: "Lists a host's images", params: HostParams, ...listSchema(query) },
    },
    async (request, reply) => {
      const { all = false, digests = false, filters } = request.query;
      const params = { all, digests, ...readFilters(filters) };
      return await answerPage(context, request, reply, { kind: imageList, params, keyOf });
    },
  );

  api.get(
    `${PATH}/:image`,
    {
      config,
      schema: {
        tags: ['images'],
        summary: 'Inspects an image; slashes in its name are escaped as %2F',
        params: ImageParams,
        querystring: Type.Object({}, strict),
        response: { 200: DockerAnswer },
      },
    },
    async (request, reply) => await answerObject(context, request, reply, imageInspect, { id: request.params.image }),
  );
}

function removeRoute(api: Api, context: RouteContext): void {
  api.delete(
    `${PATH}/:image`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['images'],
        summary: "Removes an image's name, and the image with its last one",
        params: ImageParams,
        headers: ChangeHeaders,
        querystring: Type.Object(
          {
            force: flag('One that has several names, or stopped containers, too'),
            noprune: flag('But not its parents'),
          },
          strict,
        ),
        response: { 200: RemovedImages },
      },
    },
    async (request) => {
      const { host, image } = request.params;
      const { force = false, noprune = false } = request.query;
      const detail = { force, noprune };
      const { removed } = await change(context, request, {
        ...{ kind: imageRemove, host, object: image, params: { id: image, ...detail }, detail },
        timeoutMs: LONG_CHANGE_MS,
      });
      return removed;
    },
  );
}

function tagRoute(api: Api, context: RouteContext): void {
  const { repo, tag } = imageTag.params.properties;
  api.post(
    `${PATH}/:image/tag`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['images'],
        summary: 'Gives an image one more name',
        params: ImageParams,
        headers: ChangeHeaders,
        body: Type.Object({ repo, tag }, strict),
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { host, image } = request.params;
      const detail = request.body;
      await change(context, request, {
        ...{ kind: imageTag, host, object: image, params: { id: image, ...detail }, detail },
      });
      return reply.code(204).send(null);
    },
  );
}
