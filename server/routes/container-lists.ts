/** Lists of containers: of one host, in pages, and of all hosts at once. */
import Type, { type Static } from 'typebox';
import type { Clock } from '../../shared/clock.ts';
import { containerList } from '../../shared/messages/container.ts';
import type { HostScope } from '../access/scope.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { failureOf, READ_ASKED, Repeat } from '../problem.ts';
import { scopeOf } from './access.ts';
import type { HeldAnswer } from './answer-budget.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import type { HostRecord, HostsService } from './deps/hosts.ts';
import { answerOfHosts, jsonArray } from './host-answer.ts';
import { answerPage, type KeyOf, listOf, listSchema, sortKey, withDeadline } from './host-lists.ts';
import { FAN_OUT_HOST_MS, FAN_OUT_HOSTS } from './limits.ts';
import { DockerAnswer, HostParams } from './schemas.ts';

const keyOf: KeyOf = ({ Created, Id }) => sortKey(Created, Id);

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
      repeat: Type.Optional(Repeat),
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
        ...listSchema({ all }),
      },
    },
    async (request, reply) => {
      const { all = false } = request.query;
      return await answerPage(context, request, reply, { kind: containerList, params: { all }, keyOf });
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
          listOf(await link(host), { kind: containerList, params: { all }, keyOf }, ending, held, more),
        );
        for (const { text } of listed) texts.push(text);
      } catch (error) {
        signal.throwIfAborted();
        held.drop(id);
        unreachable.push({ host: name, hostId: id, ...failureOf(error, READ_ASKED) });
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
