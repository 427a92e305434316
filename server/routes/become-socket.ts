/** Requests that become WebSockets: the host is asked first, so that every refusal is an HTTP answer. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import type { LinkStream } from '../hosts/host-link.ts';
import { principalOf } from './access.ts';
import type { RouteContext } from './context.ts';
import { clientGone, type LiveStream } from './live-streams.ts';

export interface Joined<S> {
  readonly webSocket: WebSocket;
  readonly stream: S;
  readonly live: LiveStream;
}

export interface SocketRoute<S> {
  /** How errors and the log name what runs. */
  readonly what: string;
  /** Opens the host's stream; what it fails with is the answer. */
  readonly open: (live: LiveStream) => Promise<S>;
  /** Runs until both ends are done; never rejects. @returns why it ended early */
  readonly run: (joined: Joined<S>) => Promise<Error | undefined>;
}

/** @throws FairleadError why it does not become one */
export async function becomeSocket<S extends Pick<LinkStream, 'bytes'>>(
  { deps, live, webSockets }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { what, open, run }: SocketRoute<S>,
): Promise<FastifyReply> {
  webSockets.check(request);
  const held = live.beginFor(reply.raw, principalOf(request), 'endless');
  try {
    const stream = await open(held);
    stream.bytes.on('error', (error) => request.log.debug({ err: error, what }, 'a stream was interrupted'));
    const webSocket = await webSockets.accept(request, reply);
    // Fastify counts answers; an upgrade is none that it sees.
    deps.metrics.httpRequest('GET', request.routeOptions.url ?? '', 101);
    const failure = await run({ webSocket, stream, live: held });
    if (failure !== undefined) request.log.debug({ err: failure, what }, 'a stream ended early');
  } catch (error) {
    // Nobody is left to talk to what was begun on the host, if it was.
    held.end(clientGone());
    throw error;
  } finally {
    held.release();
  }
  return reply;
}
