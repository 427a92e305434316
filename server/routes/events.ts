/** What happens on hosts and to them: as it happens, as server-sent events, or of before, in pages. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_TAGS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { eventView, gapEvent } from '../events/event-view.ts';
import { principalOf, scopeOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext, RouteDeps } from './context.ts';
import type { EventQuery, EventRecord, FollowedEvents } from './deps/events.ts';
import { timeOf } from './instants.ts';
import { HostParams, HostRef, PAGE_QUERY } from './schemas.ts';
import { sendBody } from './stream-body.ts';
import { pageRequest, pageView } from './views.ts';

const SSE = 'text/event-stream';
/** A silent stream says so this often, so that whoever is between does not take it for dead. */
const KEEP_ALIVE_MS = 15_000;
/** How soon a browser comes back by itself. */
const RECONNECT_MS = 2_000;
export const MAX_FILTERS = 32;

const time = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 40, description }));
export const EventType = Type.String({ minLength: 1, maxLength: 100, pattern: '^[a-z0-9._-]*\\*?$' });

const OF_HOST = {
  ...PAGE_QUERY,
  type: Type.Optional(
    Type.Array(EventType, {
      maxItems: MAX_FILTERS,
      description: 'container.start, container (all of its family) or container.exec*; any of them',
    }),
  ),
  after: Type.Optional(
    Type.Integer({ minimum: 0, description: 'Goes on behind this event, as the header Last-Event-ID says, too' }),
  ),
  since: time('RFC 3339: at this time or later; those that are kept of then come first'),
  until: time('RFC 3339: before this time; for pages only'),
};
const OfHost = Type.Object(OF_HOST, { additionalProperties: false });
const OfAll = Type.Object(
  {
    ...OF_HOST,
    host: Type.Optional(Type.Array(HostRef, { maxItems: MAX_FILTERS, description: 'Of any of these hosts' })),
    tag: Type.Optional(
      Type.Array(Tags.items, { maxItems: MAX_TAGS, description: 'Of hosts that have any of these tags now' }),
    ),
  },
  { additionalProperties: false },
);

const DESCRIPTION =
  'As server-sent events, `id:`, `event:` with the type and `data:` with an object, from now on unless the header ' +
  '`Last-Event-ID`, `after` or `since` says otherwise. A comment comes every 15 s. Where events are missing that were asked ' +
  'for, an `events.gap` says so. By `Accept: application/json` a page `{items, nextCursor}`, newest first.';

export function eventRoutes(api: Api, context: RouteContext): void {
  const { deps } = context;
  api.get(
    '/api/v1/events',
    {
      config: { access: 'viewer', scope: 'filtered' },
      schema: {
        tags: ['events'],
        summary: 'Tells what happens on all hosts and to them',
        description: DESCRIPTION,
        querystring: OfAll,
        produces: [SSE, 'application/json'],
      },
    },
    async (request, reply) => {
      const { host, tag } = request.query;
      const scope = scopeOf(request);
      const hosts = host && (await Promise.all(host.map((ref) => idOf(deps, ref, request))));
      return await answer(context, request, reply, { scope, hosts, tags: tag, ...filterOf(request.query) });
    },
  );

  api.get(
    '/api/v1/hosts/:host/events',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['events'],
        summary: 'Tells what happens on a host and to it',
        description: DESCRIPTION,
        params: HostParams,
        querystring: OfHost,
        produces: [SSE, 'application/json'],
      },
    },
    async (request, reply) => {
      const hosts = [await idOf(deps, request.params.host, request)];
      return await answer(context, request, reply, { scope: scopeOf(request), hosts, ...filterOf(request.query) });
    },
  );
}

type Request = FastifyRequest & { readonly query: Static<typeof OfHost> };

async function idOf({ hosts }: Pick<RouteDeps, 'hosts'>, ref: string, request: FastifyRequest): Promise<string> {
  const scope = scopeOf(request);
  return scope === undefined ? (await hosts.get(ref)).id : await hosts.idInScope(ref, scope);
}

function filterOf({ type, since, until }: Static<typeof OfHost>): EventQuery {
  return {
    ...(type === undefined ? {} : { types: type }),
    ...(since === undefined ? {} : { sinceMicros: timeOf('since', since) * 1000 }),
    ...(until === undefined ? {} : { untilMicros: timeOf('until', until) * 1000 }),
  };
}

async function answer(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  query: EventQuery,
): Promise<unknown> {
  const asked = (request as Request).query;
  if (wantsPage(request.headers.accept)) {
    if (asked.after !== undefined) throw new FairleadError('VALIDATION', 'after is for a stream; a page takes cursor');
    return pageView(await context.deps.events.list(pageRequest(asked), query), eventView);
  }
  const onlyOfPages = (['until', 'limit', 'cursor'] as const).find((name) => asked[name] !== undefined);
  if (onlyOfPages !== undefined) {
    throw new FairleadError('VALIDATION', `${onlyOfPages} is for pages: ask for them by Accept: application/json`);
  }
  await stream(context, request, reply, query, afterOf(request.headers['last-event-id'], asked.after));
  return reply;
}

/** Whether `accept` names JSON and no event stream before it. */
export function wantsPage(accept: string | undefined): boolean {
  const types = (accept ?? '')
    .toLowerCase()
    .split(',')
    .map((type) => type.split(';')[0]?.trim());
  const json = types.indexOf('application/json');
  const events = types.indexOf(SSE);
  return json !== -1 && (events === -1 || json < events);
}

/** The header counts before the parameter: a browser that comes back sends both, and its URL is the one of the first time. */
function afterOf(header: string | string[] | undefined, parameter: number | undefined): number | undefined {
  if (header === undefined || header === '') return parameter;
  if (typeof header === 'string' && /^\d{1,15}$/.test(header)) return Number(header);
  throw new FairleadError('VALIDATION', 'Last-Event-ID is not valid: it must be the id of an event');
}

async function stream(
  { deps, live }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  query: EventQuery,
  after: number | undefined,
): Promise<void> {
  const held = live.beginFor(reply.raw, principalOf(request), 'endless');
  try {
    // For proxies that else wait until they have some KiB.
    reply.header('x-accel-buffering', 'no');
    const { events, clock } = deps;
    const start = after ?? (query.sinceMicros === undefined ? events.last : undefined);
    const followed = events.follow(query, { after: start, idleMs: KEEP_ALIVE_MS, signal: held.signal });
    await sendBody(request, reply, {
      contentType: SSE,
      chunks: toSse(followed, start, () => clock.now()),
      live: held,
      clock,
    });
  } finally {
    held.release();
  }
}

/** Names its place at once and with each comment, too: a client that is cut off before its first event misses none. */
async function* toSse(
  followed: AsyncIterable<FollowedEvents>,
  start: number | undefined,
  now: () => number,
): AsyncGenerator<string> {
  yield `retry: ${RECONNECT_MS}\n${start === undefined ? '' : `id: ${start}\n`}\n`;
  for await (const { rows, missing, upTo } of followed) {
    const gap = missing && gapEvent(upTo, missing, now());
    const texts = (gap === undefined ? rows : [gap, ...rows]).map(sseOf);
    yield texts.length === 0 ? `: nothing new\nid: ${upTo}\n\n` : texts.join('');
  }
}

function sseOf(row: EventRecord): string {
  return `id: ${row.id}\nevent: ${row.type}\ndata: ${JSON.stringify(eventView(row))}\n\n`;
}
