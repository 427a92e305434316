/** Bodies that go on to a host as they come: tars, read by nobody here. */
import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import { pump } from '../../shared/pump.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { dropRest } from './docker-exchange.ts';
import { SlowTurn } from './host-turns.ts';
import { clientGone, type LiveStream } from './live-streams.ts';

export const TAR = 'application/x-tar';

/** Lets `add` add routes whose body is a tar. Each of them needs a `bodyLimit` of its own. */
export function tarBodies(api: Api, add: (scope: Api) => void): void {
  void api.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser([TAR, 'application/octet-stream'], (_request, _payload, parsed) => parsed(null));
    add(scope as unknown as Api);
    done();
  });
}

export interface Upload<K extends StreamKind> {
  /** Its opener's bytes are the body. */
  readonly kind: K;
  readonly host: string;
  /** What is changed, as the audit log names it behind the host; absent: the host itself. */
  readonly object?: string;
  readonly params: Params<K>;
  /** What the audit log says of it. Never secrets. */
  readonly detail?: Record<string, unknown>;
}

/** Sends the request's body to the host. @returns what the host says once it has taken all @throws FairleadError */
export async function upload<K extends StreamKind>(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { kind, host, object, params, detail = {} }: Upload<K>,
): Promise<Reply<K>> {
  const { deps, links, live, uploads, tarTurns } = context;
  const { socket } = request.raw;
  const held = live.beginFor(reply.raw, principalOf(request));
  const turn = new SlowTurn(tarTurns, request);
  try {
    const facts = { action: kind.name, target: object === undefined ? host : `${host}/${object}`, detail };
    return await audited(deps, request, facts, async () => {
      if (!hasBody(request.raw)) throw new FairleadError('VALIDATION', 'the body must be a tar, and there is none');
      const link = await links.to(request, host, facts);
      uploads.add(socket);
      await turn.take(link.hostId, held.signal);
      const feed = (sink: Writable) => void sendUp(request.raw, sink, held);
      const options = { signal: held.signal, timeoutMs: Number.POSITIVE_INFINITY, feed };
      return (await link.open(kind, params, options)).reply;
    });
  } finally {
    turn.end();
    held.release();
    uploads.delete(socket);
    dropRest(request.raw, context);
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Never rejects: a body that breaks off ends the upload. */
async function sendUp(body: IncomingMessage, sink: Writable, { signal }: LiveStream): Promise<void> {
  try {
    await pump(body, sink, signal);
    sink.end();
  } catch (error) {
    sink.destroy(isFairleadError(error) ? error : clientGone());
  }
}
