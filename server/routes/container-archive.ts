/** Files of a container, in and out, as tars. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { containerArchiveGet, containerArchivePut } from '../../shared/messages/container-streams.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { download } from './downloads.ts';
import { ContainerParams, NoContent } from './schemas.ts';
import { TAR, tarBodies, upload } from './uploads.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/containers/:container/archive';
const STAT_HEADER = 'x-docker-container-path-stat';
const { path } = containerArchiveGet.params.properties;
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));
const OutQuery = Type.Object({ path }, strict);

type OutRequest = FastifyRequest<{ Params: Static<typeof ContainerParams>; Querystring: Static<typeof OutQuery> }>;

export function containerArchiveRoutes(api: Api, context: RouteContext): void {
  const common = { config: { access: 'operator', scope: 'host' } } as const;
  const schema = { tags: ['containers'], params: ContainerParams, querystring: OutQuery };
  const description =
    "The header `X-Docker-Container-Path-Stat` has Docker's facts of what is at the path, JSON in base64.";
  api.get(
    PATH,
    {
      ...common,
      schema: {
        ...schema,
        summary: 'Downloads a file or directory of a container as a tar',
        description: `${description} A connection that is broken off means that the tar is not whole.`,
        produces: [TAR],
      },
    },
    async (request, reply) => await get(context, request as OutRequest, reply, false),
  );
  api.head(
    PATH,
    { ...common, schema: { ...schema, summary: 'Tells what is at a path of a container', description } },
    async (request, reply) => await get(context, request as OutRequest, reply, true),
  );
  putRoute(api, context);
}

async function get(
  context: RouteContext,
  request: OutRequest,
  reply: FastifyReply,
  statOnly: boolean,
): Promise<FastifyReply> {
  const { host, container } = request.params;
  const { path } = request.query;
  return await download(context, request, reply, {
    ...{ kind: containerArchiveGet, host, object: container, detail: { path, ...(statOnly ? { statOnly } : {}) } },
    params: { id: container, path, statOnly },
    headers: ({ stat }) => ({ [STAT_HEADER]: stat }),
    isHead: statOnly,
  });
}

function putRoute(api: Api, context: RouteContext): void {
  tarBodies(api, (scope) => {
    scope.put(
      PATH,
      {
        config: { access: 'operator', scope: 'host' },
        bodyLimit: Number.MAX_SAFE_INTEGER,
        schema: {
          tags: ['containers'],
          summary: 'Unpacks a tar in a directory of a container',
          description:
            'The body is a tar, plain or packed with gzip, bzip2 or xz. If it breaks off, what was unpacked by then stays.',
          consumes: [TAR],
          params: ContainerParams,
          querystring: Type.Object(
            {
              path,
              noOverwriteDirNonDir: flag('No directory in the place of something else, nor the other way'),
              copyUIDGID: flag('With the owners that the tar has'),
            },
            strict,
          ),
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        const { host, container } = request.params;
        const { path, noOverwriteDirNonDir = false, copyUIDGID: copyUidGid = false } = request.query;
        await upload(context, request, reply, {
          ...{ kind: containerArchivePut, host, object: container, detail: { path } },
          params: { id: container, path, noOverwriteDirNonDir, copyUidGid },
        });
        return reply.code(204).send(null);
      },
    );
  });
}
