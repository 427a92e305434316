/** Lists of what a host's Docker has, in pages: each list has an order, and a cursor is a place in it. */
import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type TProperties } from 'typebox';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { DockerObject } from '../../shared/messages/family.ts';
import type { Item, Params, StreamKind } from '../../shared/messages/kind.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HeldAnswer } from './answer-budget.ts';
import type { RouteContext } from './context.ts';
import { answerOfHosts, jsonArray, textOf } from './host-answer.ts';
import { LIST_MS } from './limits.ts';
import { DockerAnswer, PAGE_QUERY, pageOf } from './schemas.ts';

/** A kind that lists, as `listKind` makes it. */
export type ListKind = StreamKind & { readonly item: typeof DockerObject };

/** Where an object stands in a list: the newest first, and by id among those of one second. */
export interface SortKey {
  /** Unix seconds. */
  readonly created: number;
  readonly id: string;
}

/** How the objects of a kind are ordered; what is not as Docker makes it counts as nothing. */
export type KeyOf = (object: Item<ListKind>) => SortKey;

export interface Listed extends SortKey {
  /** The object, as JSON. */
  readonly text: Buffer;
}

const CREATED = /^\d{1,15}$/;
/** Ids have 64 characters, those of images their algorithm before that; names of volumes stand for ids. */
const ID = /^[0-9a-zA-Z_.:-]{0,255}$/;

/** A key of what Docker says; a name that fits into no cursor stands there by its hash. @param created in Unix seconds */
export function sortKey(created: unknown, id: unknown): SortKey {
  return {
    created: typeof created === 'number' && CREATED.test(String(created)) ? created : 0,
    id: typeof id !== 'string' ? '' : ID.test(id) ? id : createHash('sha256').update(id).digest('hex'),
  };
}

/** What routes of such lists take and answer, beside what the kind itself takes. */
export function listSchema<P extends TProperties>(query: P) {
  return {
    querystring: Type.Object({ ...PAGE_QUERY, ...query }, { additionalProperties: false }),
    response: { 200: pageOf(DockerAnswer) },
  };
}

export interface ListQuestion<K extends ListKind> {
  readonly kind: K;
  readonly params: Params<K>;
  readonly keyOf: KeyOf;
  /** Which of the objects are meant; absent: all. */
  readonly select?: (object: Item<ListKind>) => boolean;
}

/**
 * Answers with one page of what a host lists.
 * @throws FairleadError VALIDATION for a cursor that is none, TIMEOUT, OVERLOADED, what the host fails with
 */
export async function answerPage<K extends ListKind>(
  context: RouteContext,
  request: FastifyRequest<{ Params: { host: string }; Querystring: { limit?: number; cursor?: string } }>,
  reply: FastifyReply,
  question: ListQuestion<K>,
): Promise<FastifyReply> {
  const { deps, links } = context;
  const { limit, cursor } = request.query;
  const after = cursor === undefined ? undefined : readCursor(cursor);
  return await answerOfHosts(context, request, reply, async (held, signal) => {
    const listed = await withDeadline(deps.clock, LIST_MS, signal, async (ending) => {
      return await listOf(await links.to(request, request.params.host), question, ending, held);
    });
    return page(listed, limit, after);
  });
}

/**
 * All that a host lists.
 * @param more is added to each object
 * @throws FairleadError OVERLOADED if it is more than an answer may hold, what the host fails with
 */
export async function listOf<K extends ListKind>(
  link: HostLink,
  { kind, params, keyOf, select }: ListQuestion<K>,
  signal: AbortSignal,
  held: HeldAnswer,
  more?: Record<string, string>,
): Promise<Listed[]> {
  const stream = await link.open<ListKind>(kind, params, { signal });
  const listed: Listed[] = [];
  try {
    for await (const item of stream.items()) {
      signal.throwIfAborted();
      if (select !== undefined && !select(item)) continue;
      const text = textOf(held, link.hostId, more === undefined ? item : { ...item, ...more });
      listed.push({ ...keyOf(item), text });
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

/** The order of lists; a page goes on where the one before ended. */
export function compareKeys(a: SortKey, b: SortKey): number {
  return b.created - a.created || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

function* page(listed: Listed[], limit: number | undefined, after: SortKey | undefined): Generator<Buffer | string> {
  const sorted = listed.sort(compareKeys);
  const rest = after === undefined ? sorted : sorted.filter((item) => compareKeys(item, after) > 0);
  const shown = rest.slice(0, limit ?? rest.length);
  const last = shown.at(-1);
  const isMore = shown.length < rest.length && last !== undefined;
  yield '{"items":';
  yield* jsonArray(shown.map(({ text }) => text));
  yield `,"nextCursor":${JSON.stringify(isMore ? `${last.created}.${last.id}` : null)}}`;
}

/** @throws FairleadError VALIDATION */
function readCursor(cursor: string): SortKey {
  const dot = cursor.indexOf('.');
  const [created, id] = [cursor.slice(0, dot), cursor.slice(dot + 1)];
  if (dot === -1 || !CREATED.test(created) || !ID.test(id)) {
    throw new FairleadError('VALIDATION', 'cursor is not valid: use the nextCursor of the page before');
  }
  return { created: Number(created), id };
}

/** @throws FairleadError TIMEOUT, the signal's reason, what `work` fails with */
export async function withDeadline<T>(
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
