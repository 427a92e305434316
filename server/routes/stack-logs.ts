/** The logs of all containers of a stack, interleaved. */
import Type from 'typebox';
import { DockerTime } from '../../shared/messages/container.ts';
import { MAX_READ_CONTAINERS, type ReadContainer, ServiceName } from '../../shared/messages/stack.ts';
import { type StackLogEntry, textOfLine } from '../../shared/stacks/log-tail.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { LOG_HEADERS, logForm, releaseUnlessSent, resume, TEXT } from './container-streams.ts';
import type { RouteContext } from './context.ts';
import { followStackLogs, readStackLogs } from './followed-stack-log.ts';
import { StackParams } from './stack-schemas.ts';
import { NDJSON, sendBody } from './stream-body.ts';

const strict = { additionalProperties: false };
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));

const Query = Type.Object(
  {
    service: Type.Optional(Type.Array(ServiceName, { maxItems: 64, description: 'Of these services only' })),
    follow: flag('Goes on with what is said from now on, by containers that start later, too'),
    tail: Type.Optional(
      Type.Union([Type.Literal('all'), Type.String({ pattern: '^\\d{1,9}$' })], {
        description: 'The last n lines of each container, or all',
      }),
    ),
    since: Type.Optional(DockerTime),
    until: Type.Optional(DockerTime),
    timestamps: flag("Docker's time before each line of text; records have it always"),
    resume,
    read: Type.Optional(
      Type.Array(Type.String({ pattern: '^[0-9a-zA-Z][0-9a-zA-Z_.-]{0,254}@[0-9A-Za-z:.+-]{1,64}$' }), {
        maxItems: MAX_READ_CONTAINERS,
        description: 'ID@TIME: of this container what was said since TIME, in place of `tail` and `since`',
      }),
    ),
  },
  strict,
);

export function stackLogsRoute(api: Api, { deps, links, live }: RouteContext): void {
  api.get(
    '/api/v1/hosts/:host/stacks/:stack/logs',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: "Reads the logs of all of a stack's containers, in the order of their times",
        description:
          'text/plain: lines with the container before them. By `Accept: application/x-ndjson` records ' +
          '`{service, container, id, stream, time?, line, partial?}`. What comes while the log is followed comes as it comes. ' +
          'Where a log was rotated while its host was away, NDJSON goes on behind a record ' +
          '`{gap: {service, container, id, after, detail}}`; text is broken off.',
        params: StackParams,
        querystring: Query,
        produces: ['text/plain', NDJSON],
      },
    },
    async (request, reply) => {
      const { follow = false } = request.query;
      const stream = live.beginFor(reply.raw, principalOf(request), follow ? 'endless' : 'ends');
      await releaseUnlessSent(stream, async () => {
        const { host, stack } = request.params;
        const { signal } = stream;
        const { service, tail, read, timestamps = false, resume = true, ...rest } = request.query;
        const params = {
          ...{ stack, ...rest },
          ...(service === undefined ? {} : { services: service }),
          ...(tail === undefined || tail === 'all' ? {} : { tail: Number(tail) }),
          ...(read === undefined ? {} : { read: read.map(readContainer) }),
        };
        const link = await links.to(request, host);
        const isNdjson = logForm(request.headers.accept) === 'ndjson';
        const logs =
          params.follow && resume
            ? await followStackLogs(link, params, isNdjson, { links, request, signal, clock: deps.clock })
            : await readStackLogs(link, params, { signal });
        if (logs.openedAt !== undefined) reply.header(LOG_HEADERS.openedAt, logs.openedAt);
        const chunks = isNdjson ? ndjson(logs.entries) : text(logs.entries, timestamps);
        await sendBody(request, reply, {
          contentType: isNdjson ? NDJSON : TEXT,
          chunks,
          live: stream,
          clock: deps.clock,
        });
      });
      return reply;
    },
  );
}

type Batches = AsyncIterable<readonly StackLogEntry[]>;

async function* ndjson(batches: Batches): AsyncGenerator<string> {
  for await (const entries of batches) yield entries.map((entry) => `${JSON.stringify(entry)}\n`).join('');
}

async function* text(batches: Batches, timestamps: boolean): AsyncGenerator<string> {
  for await (const entries of batches) {
    yield entries.map((entry) => ('gap' in entry ? '' : textOfLine(entry, timestamps))).join('');
  }
}

function readContainer(text: string): ReadContainer {
  const at = text.indexOf('@');
  return { id: text.slice(0, at), since: text.slice(at + 1) };
}
