/** Images that come and go: pulled from a registry, and as tars. */
import Type from 'typebox';
import {
  imageLoad,
  imagePull,
  imageSave,
  MAX_SAVED_IMAGES,
  RegistryAuth,
} from '../../shared/messages/image-streams.ts';
import type { Item } from '../../shared/messages/kind.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { download } from './downloads.ts';
import { SlowTurn } from './host-turns.ts';
import { clientGone } from './live-streams.ts';
import { HostParams, ImageParams } from './schemas.ts';
import { NDJSON, sendBody } from './stream-body.ts';
import { TAR, tarBodies, upload } from './uploads.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/images';
const { reference, platform } = imagePull.params.properties;
/** Time until Docker has anything to tell: a registry may take its time. */
const PULL_BEGIN_MS = 630_000;

export function imageStreamRoutes(api: Api, context: RouteContext): void {
  pullRoute(api, context);
  saveRoute(api, context);
  loadRoute(api, context);
}

function pullRoute(api: Api, { deps, links, live, pullTurns }: RouteContext): void {
  api.post(
    `${PATH}/pull`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['images'],
        summary: 'Pulls an image from its registry',
        description:
          "NDJSON of Docker's own words on how far it is. A pull that fails ends in a record `{error: {code, detail}}` and a " +
          'connection that is broken off. Credentials go into `X-Registry-Auth`, as Docker takes them; they are kept nowhere.',
        params: HostParams,
        headers: Type.Object({ 'x-registry-auth': Type.Optional(RegistryAuth) }),
        body: Type.Object({ reference, platform }, strict),
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { host } = request.params;
      const auth = request.headers['x-registry-auth'];
      const held = live.beginFor(reply.raw, principalOf(request));
      const turn = new SlowTurn(pullTurns, request);
      try {
        const facts = { action: imagePull.name, target: `${host}/${request.body.reference}`, detail: request.body };
        const params = { ...request.body, ...(auth === undefined ? {} : { auth }) };
        const open = async () => {
          const link = await links.to(request, host, facts);
          await turn.take(link.hostId, held.signal);
          return await link.open(imagePull, params, { signal: held.signal, timeoutMs: PULL_BEGIN_MS });
        };
        const stream = await audited(deps, request, facts, open);
        await sendBody(request, reply, {
          contentType: NDJSON,
          chunks: lines(stream, (error) => audited(deps, request, facts, () => Promise.reject(error))),
          live: held,
          clock: deps.clock,
        });
      } finally {
        turn.end();
        held.release();
      }
      return reply;
    },
  );
}

/**
 * Docker's records, one a line; a reader that stops early ends the pull.
 * @param note writes down that a pull which had begun has failed, and rejects with that
 */
async function* lines(
  stream: LinkStream<typeof imagePull>,
  note: (error: unknown) => Promise<never>,
): AsyncGenerator<string> {
  const items: AsyncIterable<Item<typeof imagePull>> = stream.items();
  let isOver = false;
  try {
    for await (const item of items) yield `${JSON.stringify(item)}\n`;
    isOver = true;
  } catch (error) {
    isOver = true;
    await note(error);
  } finally {
    if (!isOver) {
      stream.reset(clientGone());
      await note(clientGone()).catch(() => undefined);
    }
  }
}

function saveRoute(api: Api, context: RouteContext): void {
  api.get(
    `${PATH}/:image/archive`,
    {
      config: { access: 'operator', scope: 'host' },
      schema: {
        tags: ['images'],
        summary: 'Downloads an image, or several, as one tar; slashes in its name are escaped as %2F',
        description: 'A connection that is broken off means that the tar is not whole.',
        params: ImageParams,
        querystring: Type.Object(
          {
            and: Type.Optional(
              Type.Array(ImageParams.properties.image, {
                maxItems: MAX_SAVED_IMAGES - 1,
                description: 'More images; may repeat',
              }),
            ),
          },
          strict,
        ),
        produces: [TAR],
      },
    },
    async (request, reply) => {
      const { host, image } = request.params;
      const references = [image, ...(request.query.and ?? [])];
      return await download(context, request, reply, {
        ...{ kind: imageSave, host, object: image, params: { references } },
        detail: references.length === 1 ? {} : { references },
      });
    },
  );
}

function loadRoute(api: Api, context: RouteContext): void {
  tarBodies(api, (scope) => {
    scope.post(
      `${PATH}/load`,
      {
        config: { access: 'operator', scope: 'host' },
        bodyLimit: Number.MAX_SAFE_INTEGER,
        schema: {
          tags: ['images'],
          summary: 'Loads the images of a tar',
          description: "The body is a tar as `archive` makes it, plain or packed. `loaded` is in Docker's own words.",
          consumes: [TAR],
          params: HostParams,
          querystring: Type.Object({}, strict),
          response: { 200: imageLoad.reply },
        },
      },
      async (request, reply) =>
        await upload(context, request, reply, { kind: imageLoad, host: request.params.host, params: {} }),
    );
  });
}
