/** Releases of the agent: added with their signatures, then file by file, listed and removed. */
import Type, { type Static } from 'typebox';
import { MAX_EXECUTABLE_BYTES, maxCompressedBytes, SignedRelease } from '../../shared/releases/release.ts';
import type { ReleaseView as Release } from '../releases/release-view.ts';
import { actorOf, principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { dropRest } from './docker-exchange.ts';
import { Instant, NoContent, Text } from './schemas.ts';
import { instant, instantOrNull } from './views.ts';

const PATH = '/api/v1/agent-releases';
const ONE = `${PATH}/:sequence`;
const strict = { additionalProperties: false };
const MAX_PLATFORMS = 16;
const GZIP = 'application/gzip';

const { os, arch } = SignedRelease.properties;
const sequence = Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 });
const SequenceParams = Type.Object({ sequence }, strict);
const FileParams = Type.Object({ sequence, os, arch }, strict);
const NewRelease = Type.Object(
  { files: Type.Array(SignedRelease, { minItems: 1, maxItems: MAX_PLATFORMS, description: 'One of each platform' }) },
  strict,
);

export const ReleaseView = Type.Object({
  version: Text,
  sequence: Type.Integer({ description: 'Rises from release to release' }),
  state: Type.Union([Type.Literal('incomplete'), Type.Literal('ready')], {
    description: 'ready: the executables of all its platforms are there',
  }),
  downgrade: Type.Boolean({ description: 'Whether it may take the place of a newer version' }),
  signatures: Type.Union([Type.Literal('verified'), Type.Literal('unchecked')], {
    description: 'verified: by a key that the server was started with; unchecked: agents alone check them',
  }),
  files: Type.Array(
    Type.Object({
      ...{ os: Text, arch: Text, bytes: Type.Integer(), sha256: Text, keyId: Text },
      compressedBytes: Type.Union([Type.Integer(), Type.Null()], { description: 'null until it is uploaded' }),
      storedAt: Type.Union([Instant, Type.Null()]),
    }),
  ),
  createdBy: Text,
  createdAt: Instant,
});
export type ReleaseView = Static<typeof ReleaseView>;

export function agentReleaseRoutes(api: Api, context: RouteContext): void {
  changeRoutes(api, context);
  readRoutes(api, context);
  uploadRoute(api, context);
}

function changeRoutes(api: Api, { deps }: RouteContext): void {
  const config = { access: 'admin', scope: 'installation' } as const;
  const tags = ['agents'];
  api.post(
    PATH,
    {
      config,
      schema: {
        ...{ tags, summary: 'Adds a release of the agent, whose executables are to be uploaded' },
        description:
          'One that is there already is answered as it stands. Its sequence must be above those of all others.',
        body: NewRelease,
        response: { 201: ReleaseView },
      },
    },
    async (request, reply) => {
      const { files } = request.body;
      const target = String(files[0]?.sequence);
      const what = { action: 'release.add', target, judge: () => undefined };
      const added = await audited(deps, request, what, () => deps.releases.add(files, actorOf(request)));
      return reply.code(201).send(viewOf(added));
    },
  );

  api.delete(
    ONE,
    {
      config,
      schema: {
        ...{ tags, summary: 'Removes a release that neither a host nor a rollout needs' },
        params: SequenceParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { sequence } = request.params;
      const what = { action: 'release.remove', target: String(sequence), judge: () => undefined };
      await audited(deps, request, what, () => deps.releases.remove(sequence, actorOf(request)));
      return reply.code(204).send(null);
    },
  );
}

function readRoutes(api: Api, { deps }: RouteContext): void {
  const config = { access: 'viewer', scope: 'installation' } as const;
  const tags = ['agents'];
  api.get(
    PATH,
    {
      config,
      schema: {
        ...{ tags, summary: 'Lists the releases of the agent, the newest first' },
        response: { 200: Type.Object({ items: Type.Array(ReleaseView), nextCursor: Type.Null() }) },
      },
    },
    async () => ({ items: deps.releases.list().map(viewOf), nextCursor: null }),
  );

  api.get(
    ONE,
    {
      config,
      schema: {
        ...{ tags, summary: 'Shows a release of the agent' },
        params: SequenceParams,
        response: { 200: ReleaseView },
      },
    },
    async ({ params }) => viewOf(deps.releases.get(params.sequence)),
  );
}

function uploadRoute(api: Api, context: RouteContext): void {
  void api.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    // Read by whoever takes it in, as it comes.
    scope.addContentTypeParser([GZIP, 'application/octet-stream'], (_request, _payload, parsed) => parsed(null));
    addUpload(scope as unknown as Api, context);
    done();
  });
}

function addUpload(api: Api, context: RouteContext): void {
  const { deps, live, uploads } = context;
  api.put(
    `${ONE}/:os/:arch`,
    {
      config: { access: 'admin', scope: 'installation' },
      bodyLimit: maxCompressedBytes(MAX_EXECUTABLE_BYTES),
      schema: {
        tags: ['agents'],
        summary: 'Uploads the executable of a release for one platform, by gzip',
        description: `The body (${GZIP}) must unpack to just what was signed; nothing of it is kept otherwise.`,
        params: FileParams,
        consumes: [GZIP],
        response: { 200: ReleaseView },
      },
    },
    async (request, reply) => {
      const { socket } = request.raw;
      const held = live.beginFor(reply.raw, principalOf(request));
      uploads.add(socket);
      try {
        const { params } = request;
        const what = { action: 'release.upload', target: String(params.sequence), judge: () => undefined };
        const work = () => deps.releases.receive(params, request.raw, actorOf(request), held.signal);
        return viewOf(await audited(deps, request, what, work));
      } finally {
        held.release();
        uploads.delete(socket);
        dropRest(request.raw, context);
      }
    },
  );
}

function viewOf(release: Release): ReleaseView {
  return {
    ...{ version: release.version, sequence: release.sequence, state: release.state },
    downgrade: release.files.some(({ signed }) => signed.downgrade === true),
    signatures: release.verified ? 'verified' : 'unchecked',
    files: release.files.map(({ signed, gzBytes, storedAt }) => ({
      ...{ os: signed.os, arch: signed.arch, bytes: signed.bytes, sha256: signed.sha256, keyId: signed.keyId },
      ...{ compressedBytes: gzBytes ?? null, storedAt: instantOrNull(storedAt) },
    })),
    createdBy: release.createdBy,
    createdAt: instant(release.createdAt),
  };
}
