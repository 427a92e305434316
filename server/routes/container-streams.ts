/** What a container says as it goes on: logs and statistics. */
import type { FastifyReply } from 'fastify';
import Type, { type Static } from 'typebox';
import type { LogForm } from '../../shared/docker/log-forms.ts';
import { DockerTime } from '../../shared/messages/container.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { followLog, type LogAnswer, readLog } from './followed-log.ts';
import { followStats, readStats } from './followed-stats.ts';
import type { LiveStream } from './live-streams.ts';
import { ContainerParams } from './schemas.ts';
import { NDJSON, sendBody } from './stream-body.ts';

export const TEXT = 'text/plain; charset=utf-8';
/** Docker's own words for its frames, and for the output of a terminal. */
const FRAMES = 'application/vnd.docker.multiplexed-stream';
const RAW = 'application/vnd.docker.raw-stream';
/** By what whoever loses the server on the way knows the same log again. */
export const LOG_HEADERS = {
  id: 'x-fairlead-container-id',
  startedAt: 'x-fairlead-container-started',
  openedAt: 'x-fairlead-log-opened',
} as const;
const strict = { additionalProperties: false };
const flag = (description: string) => Type.Optional(Type.Boolean({ description }));

export const resume = flag(
  '1 unless given: what is followed goes on where it stopped when the host, or its Docker, was away for 5 minutes at most',
);

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
    resume,
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
          'A connection that is broken off means that the log was; NDJSON then ends in a record `{error: {code, detail}}`. ' +
          'Where a followed log was rotated while its host was away, NDJSON goes on behind a record `{gap: {after, detail}}`; ' +
          'all else is broken off. ' +
          `By \`Accept: ${FRAMES}\` Docker's own frames, and ${RAW} for the output of a terminal.`,
        params: ContainerParams,
        querystring: LogsQuery,
        produces: ['text/plain', NDJSON, FRAMES, RAW],
      },
    },
    async (request, reply) => {
      const { follow = false } = request.query;
      const stream = live.beginFor(reply.raw, principalOf(request), follow ? 'endless' : 'ends');
      await releaseUnlessSent(stream, async () => {
        const { signal } = stream;
        const form = logForm(request.headers.accept);
        const { resume = true, ...query } = request.query;
        const params = logParams(request.params.container, query);
        const link = await links.to(request, request.params.host);
        const log =
          params.follow && resume
            ? await followLog(link, params, form, { links, request, signal, clock: deps.clock })
            : await readLog(link, params, form, signal);
        tellIdentity(reply, log);
        const contentType = contentTypeOf(form, log.reply.tty);
        await sendBody(request, reply, { contentType, chunks: log.chunks, live: stream, clock: deps.clock });
      });
      return reply;
    },
  );
}

function contentTypeOf(form: LogForm, tty: boolean): string {
  if (form === 'frames') return tty ? RAW : FRAMES;
  return form === 'ndjson' ? NDJSON : TEXT;
}

function tellIdentity(reply: FastifyReply, { reply: log }: LogAnswer): void {
  for (const [name, header] of Object.entries(LOG_HEADERS)) {
    const value = log[name as keyof typeof LOG_HEADERS];
    if (value !== undefined) reply.header(header, value);
  }
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
        querystring: Type.Object({ stream: flag('0: one sample only'), resume }, strict),
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const { stream = true, resume = true } = request.query;
      const held = live.beginFor(reply.raw, principalOf(request), stream ? 'endless' : 'ends');
      await releaseUnlessSent(held, async () => {
        const { signal } = held;
        const link = await links.to(request, request.params.host);
        const params = { id: request.params.container, stream };
        const chunks =
          stream && resume
            ? await followStats(link, params, { links, request, signal, clock: deps.clock })
            : await readStats(link, params, signal);
        await sendBody(request, reply, { contentType: NDJSON, chunks, live: held, clock: deps.clock });
      });
      return reply;
    },
  );
}

/** A stream that never came to its body is over, too. */
export async function releaseUnlessSent(stream: LiveStream, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    stream.release();
  }
}

function logParams(id: string, query: Omit<Static<typeof LogsQuery>, 'resume'>) {
  const { tail, stdout = true, stderr = true, ...rest } = query;
  return {
    id,
    ...rest,
    stdout,
    stderr,
    ...(tail === undefined || tail === 'all' ? {} : { tail: Number(tail) }),
  };
}

/** The form that `accept` names first; plain text where it names none. */
export function logForm(accept: string | undefined): LogForm {
  for (const type of (accept ?? '').toLowerCase().split(',')) {
    if (/^\s*application\/(x-)?ndjson\b/.test(type)) return 'ndjson';
    if (/^\s*application\/vnd\.docker\.(multiplexed|raw)-stream\b/.test(type)) return 'frames';
    if (/^\s*text\/(plain|\*)/.test(type)) return 'bytes';
  }
  return 'bytes';
}
