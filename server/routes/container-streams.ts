/** What a container says as it goes on: logs and statistics. */
import { pipeline, type Readable, type Transform } from 'node:stream';
import Type, { type Static } from 'typebox';
import { demuxToBytes, demuxToNdjson } from '../../shared/docker/demux.ts';
import { containerLogStream, containerStats, DockerTime } from '../../shared/messages/container.ts';
import type { Item } from '../../shared/messages/kind.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { clientGone, type LiveStream } from './live-streams.ts';
import { ContainerParams } from './schemas.ts';
import { NDJSON, sendBody } from './stream-body.ts';

const TEXT = 'text/plain; charset=utf-8';
const strict = { additionalProperties: false };
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));

const LogsQuery = Type.Object(
  {
    follow: flag('Goes on with what the container says from now on'),
    tail: Type.Optional(
      Type.Union([Type.Literal('all'), Type.String({ pattern: '^\\d{1,9}$' })], {
        description: 'The last n lines, or all',
      }),
    ),
    since: Type.Optional(DockerTime),
    until: Type.Optional(DockerTime),
    timestamps: flag("Docker's time before each line"),
    stdout: flag('1 unless given'),
    stderr: flag('1 unless given'),
  },
  strict,
);

export function containerStreamRoutes(api: Api, context: RouteContext): void {
  logsRoute(api, context);
  statsRoute(api, context);
}

function logsRoute(api: Api, { deps, links, live }: RouteContext): void {
  api.get(
    '/api/v1/hosts/:host/containers/:container/logs',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: "Reads a container's log",
        description:
          "text/plain: the container's bytes in the order they came. By `Accept: application/x-ndjson` records " +
          '`{stream, time?, line, partial?}`; `partial` says that a long line goes on in the next record of its stream. ' +
          'A connection that is broken off means that the log was; NDJSON then ends in a record `{error: {code, detail}}`.',
        params: ContainerParams,
        querystring: LogsQuery,
        produces: ['text/plain', NDJSON],
      },
    },
    async (request, reply) => {
      const stream = live.beginFor(reply.raw, principalOf(request));
      await releaseUnlessSent(stream, async () => {
        const isNdjson = wantsNdjson(request.headers.accept);
        const params = logParams(request.params.container, request.query);
        const link = await links.to(request, request.params.host);
        const log = await link.open(containerLogStream, params, { signal: stream.signal });
        const { tty } = log.reply;
        const timestamps = params.timestamps ?? false;
        const parsed = isNdjson ? demuxToNdjson({ tty, timestamps }) : demuxToBytes({ tty });
        const chunks = endingStream(log, parse(log.bytes, parsed));
        const contentType = isNdjson ? NDJSON : TEXT;
        await sendBody(request, reply, { contentType, chunks, live: stream, clock: deps.clock });
      });
      return reply;
    },
  );
}

function statsRoute(api: Api, { deps, links, live }: RouteContext): void {
  api.get(
    '/api/v1/hosts/:host/containers/:container/stats',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: "Samples what a container uses, as NDJSON of Docker's own objects",
        params: ContainerParams,
        querystring: Type.Object({ stream: flag('0: one sample only') }, strict),
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const stream = live.beginFor(reply.raw, principalOf(request));
      await releaseUnlessSent(stream, async () => {
        const link = await links.to(request, request.params.host);
        const params = { id: request.params.container, stream: request.query.stream ?? true };
        const stats = await link.open(containerStats, params, { signal: stream.signal });
        const chunks = endingStream(stats, lines(stats.items()));
        await sendBody(request, reply, { contentType: NDJSON, chunks, live: stream, clock: deps.clock });
      });
      return reply;
    },
  );
}

/** A stream that never came to its body is over, too. */
async function releaseUnlessSent(stream: LiveStream, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    stream.release();
  }
}

function logParams(id: string, query: Static<typeof LogsQuery>) {
  const { tail, stdout = true, stderr = true, ...rest } = query;
  return {
    id,
    ...rest,
    stdout,
    stderr,
    ...(tail === undefined || tail === 'all' ? {} : { tail: Number(tail) }),
  };
}

/** Whether `accept` names NDJSON before, or instead of, plain text. */
export function wantsNdjson(accept: string | undefined): boolean {
  const types = (accept ?? '').toLowerCase().split(',');
  const ndjson = types.findIndex((type) => /^\s*application\/(x-)?ndjson\b/.test(type));
  const text = types.findIndex((type) => /^\s*text\/(plain|\*)/.test(type));
  return ndjson !== -1 && (text === -1 || ndjson < text);
}

/** Puts `parser` behind `bytes`. What fails either of them destroys both, and so is thrown to the parser's reader. */
function parse(bytes: Readable, parser: Transform): Transform {
  return pipeline(bytes, parser, () => undefined);
}

/** Passes `chunks` on; a reader that stops early ends the work on the host. */
async function* endingStream<T>(stream: LinkStream, chunks: AsyncIterable<T>): AsyncGenerator<T> {
  let isWhole = false;
  try {
    yield* chunks;
    isWhole = true;
  } finally {
    if (!isWhole) stream.reset(clientGone());
  }
}

async function* lines(items: AsyncIterable<Item<typeof containerStats>>): AsyncGenerator<string> {
  for await (const item of items) yield `${JSON.stringify(item)}\n`;
}
