/** What is in a volume: looked at, downloaded and uploaded as a tar. */
import Type from 'typebox';
import {
  VolumeEntry,
  VolumePath,
  volumeBrowse,
  volumeExport,
  volumeImport,
} from '../../shared/messages/volume-content.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { download } from './downloads.ts';
import { answerOfHosts, jsonArray, textOf } from './host-answer.ts';
import { LIST_MS } from './limits.ts';
import { VolumeParams } from './schemas.ts';
import { TAR, tarBodies, upload } from './uploads.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/volumes/:volume';
/** Time for the host to begin an archive: it makes a container for it. */
const BEGIN_MS = 90_000;

const path = Type.Optional(VolumePath);
const { limit } = volumeBrowse.params.properties;

export function volumeContentRoutes(api: Api, context: RouteContext): void {
  browseRoute(api, context);
  exportRoute(api, context);
  importRoute(api, context);
}

function browseRoute(api: Api, context: RouteContext): void {
  api.get(
    `${PATH}/files`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['volumes'],
        summary: 'Lists a directory of a volume',
        description:
          'Docker reads all that is below the directory on the way, so that the list of a large one takes a while; ' +
          '`path` is from the root of the volume on. `truncated` says that the limit (1000 entries unless given) or the time (25 s) was over before it was whole.',
        params: VolumeParams,
        querystring: Type.Object({ path, limit }, strict),
        response: { 200: Type.Object({ items: Type.Array(VolumeEntry), truncated: Type.Boolean() }) },
      },
    },
    async (request, reply) => {
      const { host, volume } = request.params;
      const params = { volume, ...request.query };
      return await answerOfHosts(context, request, reply, async (held, signal) => {
        const link = await context.links.to(request, host, { action: volumeBrowse.name, target: `${host}/${volume}` });
        const stream = await link.open(volumeBrowse, params, { signal, timeoutMs: LIST_MS + BEGIN_MS });
        const texts: Buffer[] = [];
        for await (const entry of stream.items()) texts.push(textOf(held, link.hostId, entry));
        return directory(texts, await stream.trailer);
      });
    },
  );
}

function* directory(texts: Buffer[], { truncated }: { truncated: boolean }): Generator<Buffer | string> {
  yield '{"items":';
  yield* jsonArray(texts);
  yield `,"truncated":${truncated}}`;
}

function exportRoute(api: Api, context: RouteContext): void {
  api.get(
    `${PATH}/archive`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['volumes'],
        summary: 'Downloads a volume as a tar',
        description:
          'All of it, or the file or directory `path`; with `/.` at its end, what is in the directory. A connection that is ' +
          'broken off means that the tar is not whole.',
        params: VolumeParams,
        querystring: Type.Object({ path }, strict),
        produces: [TAR],
      },
    },
    async (request, reply) => {
      const { host, volume } = request.params;
      return await download(context, request, reply, {
        ...{ kind: volumeExport, host, object: volume, detail: request.query, beginMs: BEGIN_MS },
        params: { volume, ...request.query },
      });
    },
  );
}

function importRoute(api: Api, context: RouteContext): void {
  tarBodies(api, (scope) => {
    scope.put(
      `${PATH}/archive`,
      {
        config: { access: 'operator', scope: 'host' },
        bodyLimit: Number.MAX_SAFE_INTEGER,
        schema: {
          tags: ['volumes'],
          summary: 'Unpacks a tar in a volume, which is made if there is none',
          description:
            'The body is a tar, plain or packed with gzip, bzip2 or xz, and goes into the directory `path`. It adds to what is ' +
            'there. If it breaks off, what ' +
            'was unpacked by then stays in a volume that was there before; a new one is removed again.',
          consumes: [TAR],
          params: VolumeParams,
          querystring: Type.Object({ path }, strict),
          response: { 200: volumeImport.reply },
        },
      },
      async (request, reply) => {
        const { host, volume } = request.params;
        const { query } = request;
        const params = { volume, ...query };
        return await upload(context, request, reply, {
          kind: volumeImport,
          host,
          object: volume,
          params,
          detail: query,
        });
      },
    );
  });
}
