/** Lists of containers: of one host, in pages, and of all hosts at once. */
import Type, { type Static } from 'typebox';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { containerList } from '../../shared/messages/container.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { failureOf } from '../problem.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import type { HostRecord, HostsService } from './deps.ts';
import { FAN_OUT_HOST_MS, FAN_OUT_HOSTS, MAX_LIST_BYTES, MAX_LIST_ITEMS } from './limits.ts';
import { clientGone } from './live-streams.ts';
import { DockerAnswer, HostParams, PAGE_QUERY, pageOf } from './schemas.ts';

type DockerItem = Static<typeof DockerAnswer>;

const all = Type.Optional(Type.Boolean({ description: 'Stopped containers, too' }));
const Tag = Type.String({ minLength: 1, maxLength: 64 });

const FanOut = Type.Object({
  items: Type.Array(DockerAnswer, { description: "Docker's own objects, each with host (a name) and hostId" }),
  unreachable: Type.Array(
    Type.Object({
      host: Type.String({ description: "The host's name" }),
      hostId: Type.String(),
      code: Type.String(),
      detail: Type.String(),
    }),
  ),
});
type FanOut = Static<typeof FanOut>;

export function containerListRoutes(api: Api, { deps, live }: RouteContext): void {
  api.get(
    '/api/v1/hosts/:host/containers',
    {
      config: { access: 'viewer' },
      schema: {
        tags: ['containers'],
        summary: "Lists a host's containers in Docker's own words",
        params: HostParams,
        querystring: Type.Object({ ...PAGE_QUERY, all }, { additionalProperties: false }),
        response: { 200: pageOf(DockerAnswer) },
      },
    },
    async (request, reply) => {
      const leaving = new AbortController();
      reply.raw.once('close', () => leaving.abort(clientGone()));
      const link = await deps.hosts.link(request.params.host);
      const items = await listContainers(link, request.query.all ?? false, leaving.signal);
      return pageOfContainers(items, request.query);
    },
  );

  api.get(
    '/api/v1/containers',
    {
      config: { access: 'viewer' },
      schema: {
        tags: ['containers'],
        summary: 'Lists the containers of all hosts, and says which hosts did not answer',
        querystring: Type.Object(
          { tag: Type.Optional(Type.Array(Tag, { maxItems: 32, description: 'Hosts with all of these tags' })), all },
          { additionalProperties: false },
        ),
        response: { 200: FanOut },
      },
    },
    async (request, reply) => {
      const stream = live.beginFor(reply.raw, request.principal ?? unguarded());
      try {
        const hosts = await hostsWithTags(deps.hosts, request.query.tag ?? []);
        return await fanOut(hosts, deps.hosts, deps.clock, request.query.all ?? false, stream.signal);
      } finally {
        stream.release();
      }
    },
  );
}

function unguarded(): never {
  throw new Error('this route needs a principal');
}

/** All containers of a host. @throws FairleadError OVERLOADED if they are more than one answer may hold */
async function listContainers(link: HostLink, all: boolean, signal: AbortSignal): Promise<DockerItem[]> {
  const stream = await link.open(containerList, { all }, { signal });
  const items: DockerItem[] = [];
  let bytes = 0;
  for await (const item of stream.items()) {
    bytes += JSON.stringify(item).length;
    if (items.length >= MAX_LIST_ITEMS || bytes > MAX_LIST_BYTES) {
      const error = new FairleadError('OVERLOADED', 'the host has more containers than one answer may hold');
      stream.reset(error);
      throw error;
    }
    items.push(item);
  }
  return items;
}

/** Newest first, and by id among those of one second, so that a page goes on where the one before ended. */
function compare(a: DockerItem, b: DockerItem): number {
  const [aKey, bKey] = [sortKey(a), sortKey(b)];
  return bKey[0] - aKey[0] || (aKey[1] < bKey[1] ? -1 : aKey[1] > bKey[1] ? 1 : 0);
}

function sortKey(item: DockerItem): [created: number, id: string] {
  const { Created, Id } = item;
  return [typeof Created === 'number' ? Created : 0, typeof Id === 'string' ? Id : ''];
}

function pageOfContainers(
  items: DockerItem[],
  { limit, cursor }: { limit?: number; cursor?: string },
): { items: DockerItem[]; nextCursor: string | null } {
  const sorted = items.sort(compare);
  const start = cursor === undefined ? sorted : sorted.filter((item) => compare(item, readCursor(cursor)) > 0);
  const page = start.slice(0, limit ?? start.length);
  const last = page.at(-1);
  const isMore = page.length < start.length && last !== undefined;
  return { items: page, nextCursor: isMore ? sortKey(last).join('.') : null };
}

function readCursor(cursor: string): DockerItem {
  const [, created, id] = /^(\d{1,15})\.([0-9a-zA-Z]*)$/.exec(cursor) ?? [];
  if (created === undefined) {
    throw new FairleadError('VALIDATION', 'cursor is not valid: use the nextCursor of the page before');
  }
  return { Created: Number(created), Id: id };
}

/** Hosts that carry all of `tags`; revoked ones are no part of the fleet. */
async function hostsWithTags(hosts: HostsService, tags: readonly string[]): Promise<HostRecord[]> {
  const found: HostRecord[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await hosts.list(cursor ? { limit: 500, cursor } : { limit: 500 });
    found.push(
      ...page.items.filter((host) => host.state !== 'revoked' && tags.every((tag) => host.tags.includes(tag))),
    );
    cursor = page.nextCursor;
  } while (cursor);
  return found;
}

/** Asks all hosts, some at once, each within its deadline; what one host does never spoils the others' answers. */
async function fanOut(
  hosts: readonly HostRecord[],
  service: HostsService,
  clock: Clock,
  all: boolean,
  signal: AbortSignal,
): Promise<FanOut> {
  const answer: FanOut = { items: [], unreachable: [] };
  const waiting = hosts.values();
  const worker = async () => {
    for (const { id, name } of waiting) {
      try {
        const items = await withDeadline(clock, signal, async (ending) =>
          listContainers(await service.link(id), all, ending),
        );
        for (const item of items) answer.items.push({ ...item, host: name, hostId: id });
      } catch (error) {
        signal.throwIfAborted();
        answer.unreachable.push({ host: name, hostId: id, ...failureOf(error) });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(FAN_OUT_HOSTS, hosts.length) }, worker));
  return answer;
}

async function withDeadline<T>(
  clock: Clock,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const late = new FairleadError('TIMEOUT', `the host did not answer within ${FAN_OUT_HOST_MS / 1000} s`);
  const timer = clock.setTimeout(() => deadline.abort(late), FAN_OUT_HOST_MS);
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.aborted ? signal.reason : late);
  const ending = AbortSignal.any([signal, deadline.signal]);
  ending.addEventListener('abort', stop, { once: true });
  try {
    // A host that does not even answer the end of its stream must not hold up the answer.
    return await Promise.race([work(ending), promise]);
  } finally {
    timer.cancel();
    ending.removeEventListener('abort', stop);
  }
}
