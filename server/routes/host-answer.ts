/**
 * Answers with what hosts say, as JSON texts. The objects themselves are never kept: what one takes in memory is for its
 * host to choose, and may be fifty times what it took on the wire.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import type { DockerObject } from '../../shared/messages/family.ts';
import type { Params, StreamKind } from '../../shared/messages/kind.ts';
import { principalOf } from './access.ts';
import type { HeldAnswer } from './answer-budget.ts';
import type { RouteContext } from './context.ts';
import { SEND_MS } from './limits.ts';
import { sendBody } from './stream-body.ts';

const JSON_TYPE = 'application/json; charset=utf-8';
/** Small texts go out together in pieces of this size. */
const PIECE_BYTES = 64 * 1024;

/**
 * Lets `collect` gather the texts that the answer is made of, each counted in by `held.take`, and sends them.
 * @param collect is told by its signal when nobody waits for the answer any more
 * @throws FairleadError OVERLOADED, and what `collect` throws
 */
export async function answerOfHosts(
  { deps, live, answers }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  collect: (held: HeldAnswer, signal: AbortSignal) => Promise<Iterable<Buffer | string>>,
): Promise<FastifyReply> {
  const stream = live.beginFor(reply.raw, principalOf(request));
  try {
    const held = answers.begin();
    try {
      const chunks = pieces(await collect(held, stream.signal));
      const late = new FairleadError('TIMEOUT', 'the client did not read its answer in time');
      const timer = deps.clock.setTimeout(() => stream.end(late), SEND_MS);
      await sendBody(request, reply, { contentType: JSON_TYPE, chunks, live: stream, clock: deps.clock });
      timer.cancel();
    } finally {
      held.release();
    }
  } finally {
    stream.release();
  }
  return reply;
}

/** A kind whose reply is Docker's object, as `readKind` makes it. */
type ReadKind = StreamKind & { readonly reply: typeof DockerObject };

/** Answers with one object of a host's. @throws FairleadError OVERLOADED, what the host fails with */
export async function answerObject<K extends ReadKind>(
  context: RouteContext,
  request: FastifyRequest<{ Params: { host: string } }>,
  reply: FastifyReply,
  kind: K,
  params: Params<K>,
): Promise<FastifyReply> {
  return await answerOfHosts(context, request, reply, async (held, signal) => {
    const link = await context.links.to(request, request.params.host);
    return [textOf(held, link.hostId, await link.call(kind, params, { signal }))];
  });
}

/** `value` as a text that is counted in. @throws FairleadError OVERLOADED */
export function textOf(held: HeldAnswer, hostId: string, value: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(value));
  const excess = held.take(hostId, text.byteLength);
  if (excess !== undefined) throw excess;
  return text;
}

function* pieces(texts: Iterable<Buffer | string>): Generator<Buffer> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  for (const text of texts) {
    const buffer = typeof text === 'string' ? Buffer.from(text) : text;
    waiting.push(buffer);
    bytes += buffer.byteLength;
    if (bytes < PIECE_BYTES) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    bytes = 0;
  }
  yield Buffer.concat(waiting);
}

/** `texts` as the elements of a JSON array. */
export function* jsonArray(texts: Iterable<Buffer>): Generator<Buffer | string> {
  let isFirst = true;
  yield '[';
  for (const text of texts) {
    if (!isFirst) yield ',';
    isFirst = false;
    yield text;
  }
  yield ']';
}
