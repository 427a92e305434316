/** Changes on a host, one call each: made once for each idempotency key, and written down. */
import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import { principalOf } from './access.ts';
import { type AuditedAction, audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { takeTurn } from './host-turns.ts';
import { CHANGE_MS } from './limits.ts';
import { clientGone } from './live-streams.ts';

/** What every route that makes a change takes. */
export const ChangeHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({ minLength: 1, maxLength: 64, description: 'A call repeated with the same key acts once' }),
  ),
});

/** A change of one kind that takes an idempotency key, as `changeKind` makes it. */
export interface Change<K extends StreamKind> {
  readonly kind: K;
  /** The host's id or name. */
  readonly host: string;
  /** What is changed, as the audit log names it behind the host; absent: the host itself. */
  readonly object?: string | undefined;
  readonly params: Params<K>;
  /** What the audit log says of it. Never secrets. */
  readonly detail: Record<string, unknown>;
  /** The idempotency key, where it is not the request's own. */
  readonly key?: string;
  /** What the answer adds to that, and how it ended; without it, whatever comes is a success. */
  readonly judge?: AuditedAction<Reply<K>>['judge'];
  /** Time for the host's answer, 30 s unless given. */
  readonly timeoutMs?: number;
}

/**
 * Makes one change and records it. A client that leaves does not stop it: what was begun on the host ends there.
 * @throws FairleadError what the host fails with
 */
export async function change<K extends StreamKind>(
  context: RouteContext,
  request: FastifyRequest,
  { kind, host, object, params, detail, judge, timeoutMs = CHANGE_MS, key: given }: Change<K>,
): Promise<Reply<K>> {
  const { deps, links, lostCalls } = context;
  const key = keyOf(request, given);
  const action = { action: kind.name, target: object === undefined ? host : `${host}/${object}`, detail };
  return await audited(deps, request, judge === undefined ? action : { ...action, judge }, async () => {
    const link = await links.to(request, host, action);
    const end = await turnOf(context, request, link.hostId);
    try {
      if (key === undefined) return await link.call(kind, params, { timeoutMs });
      const all = { ...(params as object), idempotencyKey: key } as Params<K>;
      return await lostCalls.make(key, kind, link, () => link.call(kind, all, { timeoutMs }));
    } finally {
      end();
    }
  });
}

/** Waits for a turn at the host: nothing is begun there for a client that leaves meanwhile, or whose token ends. */
async function turnOf(context: RouteContext, request: FastifyRequest, hostId: string): Promise<() => void> {
  const principal = principalOf(request);
  const { socket } = request.raw;
  const waiting = context.live.begin(principal);
  const onClose = () => waiting.end(clientGone());
  socket.once('close', onClose);
  if (socket.destroyed) onClose();
  try {
    return await takeTurn(context, { tokenId: principal.tokenId, hostId }, waiting.signal);
  } finally {
    socket.off('close', onClose);
    waiting.release();
  }
}

/** The key of a change among those of all callers: what one of them makes of it is no answer for another. */
function keyOf(request: FastifyRequest, given: string | undefined): string | undefined {
  const key = given ?? request.headers['idempotency-key'];
  if (typeof key !== 'string') return undefined;
  return createHash('sha256')
    .update(`${principalOf(request).tokenId}\0${key}`)
    .digest('base64url');
}
