/** The logs of all containers of a stack, interleaved. */
import Type from 'typebox';
import { DockerTime } from '../../shared/messages/container.ts';
import { ServiceName, type StackLogLine, stackLogs } from '../../shared/messages/stack.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { logForm, releaseUnlessSent, TEXT } from './container-streams.ts';
import type { RouteContext } from './context.ts';
import { endingStream } from './followed-log.ts';
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
          '`{service, container, stream, time?, line, partial?}`. What comes while the log is followed comes as it comes.',
        params: StackParams,
        querystring: Query,
        produces: ['text/plain', NDJSON],
      },
    },
    async (request, reply) => {
      const stream = live.beginFor(reply.raw, principalOf(request));
      await releaseUnlessSent(stream, async () => {
        const { host, stack } = request.params;
        const { service, tail, timestamps = false, ...rest } = request.query;
        const params = {
          ...{ stack, ...rest },
          ...(service === undefined ? {} : { services: service }),
          ...(tail === undefined || tail === 'all' ? {} : { tail: Number(tail) }),
        };
        const link = await links.to(request, host);
        const logs = await link.open(stackLogs, params, { signal: stream.signal });
        const isNdjson = logForm(request.headers.accept) === 'ndjson';
        const lines = isNdjson ? ndjson(logs.items()) : text(logs.items(), timestamps);
        const chunks = endingStream(logs, lines);
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

async function* ndjson(items: AsyncIterable<StackLogLine[]>): AsyncGenerator<string> {
  for await (const lines of items) yield lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

async function* text(items: AsyncIterable<StackLogLine[]>, timestamps: boolean): AsyncGenerator<string> {
  for await (const lines of items) {
    yield lines
      .map(
        ({ container, time, line }) => `${container} | ${timestamps && time !== undefined ? `${time} ` : ''}${line}\n`,
      )
      .join('');
  }
}
