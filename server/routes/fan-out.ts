/** Questions to many hosts at once: each has its deadline, and one that does not answer is told beside what the others say. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { Tags } from '../../shared/messages/control.ts';
import type { HostScope } from '../access/scope.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { failureOf, READ_ASKED, Repeat } from '../problem.ts';
import { scopeOf } from './access.ts';
import type { HeldAnswer } from './answer-budget.ts';
import type { RouteContext } from './context.ts';
import type { HostRecord, HostsService } from './deps/hosts.ts';
import { answerOfHosts, jsonArray } from './host-answer.ts';
import { compareKeys, type Listed, type ListKind, type ListQuestion, listOf, withDeadline } from './host-lists.ts';
import { FAN_OUT_HOST_MS, FAN_OUT_HOSTS, MAX_LIST_ITEMS } from './limits.ts';
import { DockerAnswer, HostRef } from './schemas.ts';

/** Which hosts are asked. */
export const HOST_SELECT = {
  tag: Type.Optional(Type.Array(Tags.items, { maxItems: 32, description: 'Hosts with all of these tags' })),
  host: Type.Optional(Type.Array(HostRef, { minItems: 1, maxItems: 256, description: 'These hosts alone' })),
};
export interface HostSelect {
  readonly tag?: readonly string[];
  readonly host?: readonly string[];
}

/** Of which host something is. */
export const OF_HOST = { host: Type.String({ description: "The host's name" }), hostId: Type.String() };

export const Unreachable = Type.Object({
  ...OF_HOST,
  code: Type.String(),
  detail: Type.String(),
  repeat: Type.Optional(Repeat),
});
export type Unreachable = Static<typeof Unreachable>;

export const FanOut = Type.Object({
  items: Type.Array(DockerAnswer, { description: "Docker's own objects, each with host (a name) and hostId" }),
  unreachable: Type.Array(Unreachable),
  omitted: Type.Optional(Type.Integer({ description: 'How many there are beyond limit' })),
});

export const FAN_OUT_QUERY = {
  ...HOST_SELECT,
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: MAX_LIST_ITEMS,
      description: 'The most items, the newest of all; all unless given',
    }),
  ),
};

/**
 * Hosts in `scope` that are meant, in the order of their names; revoked ones are no part of the fleet.
 * @throws FairleadError HOST_NOT_FOUND for one that is named and not there
 */
export async function hostsOf(
  hosts: Pick<HostsService, 'list'>,
  { tag = [], host }: HostSelect,
  scope: HostScope | undefined,
): Promise<HostRecord[]> {
  const wanted = host && new Set(host.map((ref) => ref.toLowerCase()));
  const missing = new Set(wanted);
  const found: HostRecord[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await hosts.list(cursor ? { limit: 500, cursor } : { limit: 500 }, scope);
    for (const one of page.items) {
      const refs = [one.id, one.name.toLowerCase()];
      if (wanted !== undefined && !refs.some((ref) => wanted.has(ref))) continue;
      for (const ref of refs) missing.delete(ref);
      if (one.state !== 'revoked' && tag.every((each) => one.tags.includes(each))) found.push(one);
    }
    cursor = page.nextCursor;
  } while (cursor);
  const [first] = missing;
  if (first !== undefined) throw new FairleadError('HOST_NOT_FOUND', `there is no host ${JSON.stringify(first)}`);
  return found;
}

/** What hosts answered, in no order, and those that did not. */
export interface Answers<T> {
  readonly answers: { readonly host: HostRecord; readonly answer: T }[];
  readonly unreachable: Unreachable[];
}

/**
 * Asks all hosts, some at once, each within its deadline; what one host does never spoils the others' answers.
 * @throws the signal's reason
 */
export async function askHosts<T>(
  { deps, links }: Pick<RouteContext, 'deps' | 'links'>,
  request: FastifyRequest,
  hosts: readonly HostRecord[],
  signal: AbortSignal,
  ask: (host: HostRecord, link: HostLink, signal: AbortSignal) => Promise<T>,
): Promise<Answers<T>> {
  const answers: Answers<T>['answers'] = [];
  const unreachable: Unreachable[] = [];
  const waiting = hosts.values();
  const worker = async () => {
    for (const host of waiting) {
      try {
        const answer = await withDeadline(deps.clock, FAN_OUT_HOST_MS, signal, async (ending) => {
          return await ask(host, await links.to(request, host.id), ending);
        });
        answers.push({ host, answer });
      } catch (error) {
        signal.throwIfAborted();
        unreachable.push({ host: host.name, hostId: host.id, ...failureOf(error, READ_ASKED) });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(FAN_OUT_HOSTS, hosts.length) }, worker));
  return { answers, unreachable: unreachable.sort((a, b) => (a.host < b.host ? -1 : 1)) };
}

/** Answers with what all hosts that are meant list, the newest first. @throws FairleadError HOST_NOT_FOUND, OVERLOADED */
export async function answerFanOut<K extends ListKind>(
  context: RouteContext,
  request: FastifyRequest<{ Querystring: HostSelect & { limit?: number } }>,
  reply: FastifyReply,
  question: ListQuestion<K>,
): Promise<FastifyReply> {
  return await answerAll(context, request, reply, async ({ host, hostId }, link, held, ending) => {
    return await listOf(link, question, ending, held, { host, hostId });
  });
}

/**
 * Answers with what `list` finds at all hosts that are meant, in the order of its keys.
 * @param list counts in what it answers @throws FairleadError HOST_NOT_FOUND, OVERLOADED
 */
export async function answerAll(
  context: RouteContext,
  request: FastifyRequest<{ Querystring: HostSelect & { limit?: number } }>,
  reply: FastifyReply,
  list: (
    of: { readonly host: string; readonly hostId: string },
    link: HostLink,
    held: HeldAnswer,
    signal: AbortSignal,
  ) => Promise<Listed[]>,
): Promise<FastifyReply> {
  const { limit, ...select } = request.query;
  return await answerOfHosts(context, request, reply, async (held, signal) => {
    const hosts = await hostsOf(context.deps.hosts, select, scopeOf(request));
    const { answers, unreachable } = await askHosts(context, request, hosts, signal, ({ id, name }, link, ending) =>
      list({ host: name, hostId: id }, link, held, ending),
    );
    for (const { hostId } of unreachable) held.drop(hostId);
    const listed = answers.flatMap(({ answer }) => answer).sort(compareKeys);
    return fanOutTexts(listed, limit, unreachable);
  });
}

function* fanOutTexts(
  listed: readonly Listed[],
  limit = listed.length,
  unreachable: readonly Unreachable[],
): Generator<Buffer | string> {
  yield '{"items":';
  yield* jsonArray(listed.slice(0, limit).map(({ text }) => text));
  yield `,"unreachable":${JSON.stringify(unreachable)}`;
  if (listed.length > limit) yield `,"omitted":${listed.length - limit}`;
  yield '}';
}
