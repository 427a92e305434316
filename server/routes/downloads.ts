/** Tars that hosts send, passed on as they come. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import { principalOf } from './access.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { SlowTurn } from './host-turns.ts';
import { bytesOf, sendBody } from './stream-body.ts';
import { TAR } from './uploads.ts';

/** The longest of them: that of an image is gathered first. */
const BEGIN_MS = 630_000;

export interface Download<K extends StreamKind> {
  /** The acceptor's bytes are the body. */
  readonly kind: K;
  readonly host: string;
  /** What it is about, as the audit log names it behind the host; absent: the host itself. */
  readonly object?: string;
  readonly params: Params<K>;
  readonly detail: Record<string, unknown>;
  /** Headers of the answer that the host's reply tells. */
  readonly headers?: (reply: Reply<K>) => Record<string, string>;
  /** Whether the head is all that is wanted. */
  readonly isHead?: boolean;
  /** Time for the host to begin it. */
  readonly beginMs?: number;
}

/** Answers with the bytes of a stream; nothing is handed out that could not be written down. @throws FairleadError */
export async function download<K extends StreamKind>(
  { deps, links, live, tarTurns }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { kind, host, object, params, detail, headers, isHead = false, beginMs = BEGIN_MS }: Download<K>,
): Promise<FastifyReply> {
  const held = live.beginFor(reply.raw, principalOf(request));
  const turn = new SlowTurn(tarTurns, request);
  try {
    const target = object === undefined ? host : `${host}/${object}`;
    const facts = { action: kind.name, target, detail, isStrict: true };
    const stream = await audited(deps, request, facts, async () => {
      const link = await links.to(request, host, facts);
      if (!isHead) await turn.take(link.hostId, held.signal);
      return await link.open(kind, params, { signal: held.signal, timeoutMs: beginMs });
    });
    for (const [name, value] of Object.entries(headers?.(stream.reply) ?? {})) reply.header(name, value);
    if (isHead) {
      stream.bytes.resume();
      return await reply.type(TAR).send('');
    }
    await sendBody(request, reply, { contentType: TAR, chunks: bytesOf(stream), live: held, clock: deps.clock });
  } finally {
    turn.end();
    held.release();
  }
  return reply;
}
