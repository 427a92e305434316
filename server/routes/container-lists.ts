/** Lists of containers: of one host, in pages, and of all hosts at once. */
import Type, { type Static } from 'typebox';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { containerList } from '../../shared/messages/container.ts';
import type { HostScope } from '../access/scope.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { failureOf } from '../problem.ts';
import { scopeOf } from './access.ts';
import type { HeldAnswer } from './answer-budget.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import type { HostRecord, HostsService } from './deps/hosts.ts';
import { answerOfHosts, jsonArray, textOf } from './host-answer.ts';
import { FAN_OUT_HOST_MS, FAN_OUT_HOSTS, LIST_MS } from './limits.ts';
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
type Unreachable = Static<typeof FanOut>['unreachable'][number];

export function containerListRoutes(api: Api, context: RouteContext): void {
  const { deps, links } = context;
  api.get(
    '/api/v1/hosts/:host/containers',
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['containers'],
        summary: "Lists a host's containers in Docker's own words",
        params: HostParams,
        querystring: Type.Object({ ...PAGE_QUERY, all }, { additionalProperties: false }),
        response: { 200: pageOf(DockerAnswer) },
      },
    },
    async (request, reply) => {
      const { host } = request.params;
      const { all = false, limit, cursor } = request.query;
      const after = cursor === undefined ? undefined : readCursor(cursor);
      return await answerOfHosts(context, request, reply, async (held, signal) => {
        const listed = await withDeadline(deps.clock, LIST_MS, signal, async (ending) => {
          return await listContainers(await links.to(request, host), all, ending, held);
        });
        return pageOfContainers(listed, limit, after);
      });
    },
  );

  api.get(
    '/api/v1/containers',
    {
      config: { access: 'viewer', scope: 'filtered' },
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
      const { all = false, tag = [] } = request.query;
      return await answerOfHosts(context, request, reply, async (held, signal) => {
        const hosts = await hostsWithTags(deps.hosts, tag, scopeOf(request));
        const link = (host: HostRecord) => links.to(request, host.id);
        return await fanOut(hosts, { link, clock: deps.clock }, { all, signal, held });
      });
    },
  );
}

/** Where a container stands in a list. */
interface SortKey {
  /** Unix seconds. */
  readonly created: number;
  readonly id: string;
}

interface Listed extends SortKey {
  readonly text: Buffer;
}

/**
 * All containers of a host.
 * @param more is added to each object
 * @throws FairleadError OVERLOADED if they are more than an answer may hold
 */
async function listContainers(
  link: HostLink,
  all: boolean,
  signal: AbortSignal,
  held: HeldAnswer,
  more?: Record<string, string>,
): Promise<Listed[]> {
  const stream = await link.open(containerList, { all }, { signal });
  const listed: Listed[] = [];
  try {
    for await (const item of stream.items()) {
      signal.throwIfAborted();
      const text = textOf(held, link.hostId, more === undefined ? item : { ...item, ...more });
      listed.push({ ...sortKey(item), text });
    }
  } catch (error) {
    held.drop(link.hostId);
    stream.reset(error instanceof FairleadError ? error : unexpected(error));
    throw error;
  }
  return listed;
}

function unexpected(cause: unknown): FairleadError {
  return new FairleadError('INTERNAL', 'the list failed on the server', { cause });
}

/** Newest first, and by id among those of one second, so that a page goes on where the one before ended. */
function compare(a: SortKey, b: SortKey): number {
  return b.created - a.created || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

const CREATED = /^\d{1,15}$/;
/** Docker's ids have 64 characters. */
const ID = /^[0-9a-zA-Z]{0,64}$/;

/** What is not as Docker makes it counts as nothing, so that every key fits into a cursor. */
function sortKey({ Created, Id }: DockerItem): SortKey {
  return {
    created: typeof Created === 'number' && CREATED.test(String(Created)) ? Created : 0,
    id: typeof Id === 'string' && ID.test(Id) ? Id : '',
  };
}

function* pageOfContainers(
  listed: Listed[],
  limit: number | undefined,
  after: SortKey | undefined,
): Generator<Buffer | string> {
  const sorted = listed.sort(compare);
  const rest = after === undefined ? sorted : sorted.filter((item) => compare(item, after) > 0);
  const page = rest.slice(0, limit ?? rest.length);
  const last = page.at(-1);
  const isMore = page.length < rest.length && last !== undefined;
  yield '{"items":';
  yield* jsonArray(page.map(({ text }) => text));
  yield `,"nextCursor":${JSON.stringify(isMore ? `${last.created}.${last.id}` : null)}}`;
}

/** @throws FairleadError VALIDATION */
function readCursor(cursor: string): SortKey {
  const [created = '', id = '', ...more] = cursor.split('.');
  if (more.length > 0 || !cursor.includes('.') || !CREATED.test(created) || !ID.test(id)) {
    throw new FairleadError('VALIDATION', 'cursor is not valid: use the nextCursor of the page before');
  }
  return { created: Number(created), id };
}

/** Hosts in `scope` that carry all of `tags`; revoked ones are no part of the fleet. */
async function hostsWithTags(
  hosts: Pick<HostsService, 'list'>,
  tags: readonly string[],
  scope: HostScope | undefined,
): Promise<HostRecord[]> {
  const found: HostRecord[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await hosts.list(cursor ? { limit: 500, cursor } : { limit: 500 }, scope);
    found.push(
      ...page.items.filter((host) => host.state !== 'revoked' && tags.every((tag) => host.tags.includes(tag))),
    );
    cursor = page.nextCursor;
  } while (cursor);
  return found;
}

interface FanOutOptions {
  readonly all: boolean;
  readonly signal: AbortSignal;
  readonly held: HeldAnswer;
}

/** Asks all hosts, some at once, each within its deadline; what one host does never spoils the others' answers. */
async function fanOut(
  hosts: readonly HostRecord[],
  { link, clock }: { link: (host: HostRecord) => Promise<HostLink>; clock: Clock },
  { all, signal, held }: FanOutOptions,
): Promise<Iterable<Buffer | string>> {
  const texts: Buffer[] = [];
  const unreachable: Unreachable[] = [];
  const waiting = hosts.values();
  const worker = async () => {
    for (const host of waiting) {
      const { id, name } = host;
      try {
        const more = { host: name, hostId: id };
        const listed = await withDeadline(clock, FAN_OUT_HOST_MS, signal, async (ending) =>
          listContainers(await link(host), all, ending, held, more),
        );
        for (const { text } of listed) texts.push(text);
      } catch (error) {
        signal.throwIfAborted();
        held.drop(id);
        unreachable.push({ host: name, hostId: id, ...failureOf(error) });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(FAN_OUT_HOSTS, hosts.length) }, worker));
  return fanOutTexts(texts, unreachable);
}

function* fanOutTexts(texts: Buffer[], unreachable: Unreachable[]): Generator<Buffer | string> {
  yield '{"items":';
  yield* jsonArray(texts);
  yield `,"unreachable":${JSON.stringify(unreachable)}}`;
}

async function withDeadline<T>(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const late = new FairleadError('TIMEOUT', `the host did not answer within ${ms / 1000} s`);
  const timer = clock.setTimeout(() => deadline.abort(late), ms);
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
