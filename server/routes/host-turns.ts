/** Places among a host's unanswered streams: for what may be long unanswered, so that the rest goes on beside it. */
import type { FastifyRequest } from 'fastify';
import type { SlowTurns } from '../turns.ts';
import { principalOf } from './access.ts';
import type { RouteContext } from './context.ts';

/**
 * Resolves when it is the turn of the caller `tokenId` at the host, with what ends that, idempotent.
 * @throws the signal's reason
 */
export async function takeTurn(
  { dockerTurns }: Pick<RouteContext, 'dockerTurns'>,
  { tokenId, hostId }: { readonly tokenId: string; readonly hostId: string },
  signal: AbortSignal,
): Promise<() => void> {
  return await dockerTurns.take({ caller: tokenId, hostId }, signal);
}

/** Turns of one request for what takes long. */
export class SlowTurn {
  readonly #turns: SlowTurns;
  readonly #caller: string;
  #end: (() => void) | undefined;

  constructor(turns: SlowTurns, request: FastifyRequest) {
    this.#turns = turns;
    this.#caller = principalOf(request).tokenId;
  }

  /** Waits for it, once. @throws FairleadError OVERLOADED, the signal's reason */
  async take(hostId: string, signal: AbortSignal): Promise<void> {
    this.#end = await this.#turns.take({ caller: this.#caller, hostId }, signal);
  }

  /** Gives it back, if it was taken. Idempotent. */
  end(): void {
    this.#end?.();
  }
}
