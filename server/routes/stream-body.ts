/** Answers a request with a body that is sent as it comes, at the client's pace, and that never seems whole when it is not. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { failureOf } from '../problem.ts';
import { SEND_MS } from './limits.ts';
import { clientGone, type LiveStream } from './live-streams.ts';
import { askedBy } from './problem.ts';

export const NDJSON = 'application/x-ndjson';
/** How long a last record may take to leave before the connection is broken. */
const LAST_RECORD_MS = 500;

export interface StreamedBody {
  readonly contentType: string;
  readonly chunks: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>;
  readonly live: LiveStream;
  readonly clock: Clock;
}

/**
 * Sends the head at once and then the chunks, each when the client has room. When they fail, the connection is broken off,
 * so that no client takes what it has for the whole; NDJSON gets a last record `{error:{code,detail,repeat?}}` before.
 */
export async function sendBody(request: FastifyRequest, reply: FastifyReply, body: StreamedBody): Promise<void> {
  const response = startBody(reply, body.contentType);
  try {
    for await (const chunk of body.chunks) await write(response, chunk, body.live.signal);
    response.end();
  } catch (error) {
    const reason: unknown = body.live.signal.aborted ? body.live.signal.reason : error;
    const isClientGone = isFairleadError(reason, 'CANCELLED');
    if (!isFairleadError(reason)) request.log.error({ err: reason }, 'a streamed answer failed');
    if (!isClientGone && body.contentType === NDJSON)
      await sendLastRecord(response, failureOf(reason, askedBy(request)), body.clock);
    response.destroy();
  } finally {
    body.live.release();
  }
}

/** `chunks`, until the client takes nothing for too long: for what holds back others while it lasts. */
export async function* paced<T>(chunks: AsyncIterable<T>, live: LiveStream, clock: Clock): AsyncGenerator<T> {
  for await (const chunk of chunks) {
    const timer = clock.setTimeout(
      () => live.end(new FairleadError('TIMEOUT', `the client took nothing for ${SEND_MS / 1000} s`)),
      SEND_MS,
    );
    try {
      yield chunk;
    } finally {
      timer.cancel();
    }
  }
}

/** The bytes of a host's stream; a reader that stops early ends the work on the host. */
export async function* bytesOf(stream: Pick<LinkStream, 'bytes' | 'reset'>): AsyncGenerator<Uint8Array> {
  let isWhole = false;
  try {
    yield* stream.bytes as AsyncIterable<Uint8Array>;
    isWhole = true;
  } finally {
    if (!isWhole) stream.reset(clientGone());
  }
}

/** Takes the answer out of Fastify's hands and sends its head. */
function startBody(reply: FastifyReply, contentType: string): ServerResponse {
  reply.hijack();
  const response = reply.raw;
  for (const [name, value] of Object.entries(reply.getHeaders()))
    if (value !== undefined) response.setHeader(name, value);
  response.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-store' });
  response.flushHeaders();
  return response;
}

async function write(response: ServerResponse, chunk: Uint8Array | string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (!response.write(chunk)) await once(response, 'drain', { signal });
}

async function sendLastRecord(response: ServerResponse, error: object, clock: Clock): Promise<void> {
  if (response.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = clock.setTimeout(resolve, LAST_RECORD_MS);
  response.once('close', resolve);
  response.write(`${JSON.stringify({ error })}\n`, () => resolve());
  await promise;
  timer.cancel();
}
