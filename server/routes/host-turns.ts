/** Places among a host's unanswered streams: for what may be long unanswered, so that the rest goes on beside it. */
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
  const ofCaller = await dockerTurns.ofCaller.take(`${tokenId} ${hostId}`, signal);
  try {
    const ofHost = await dockerTurns.ofHost.take(hostId, signal);
    return () => {
      ofHost();
      ofCaller();
    };
  } catch (error) {
    ofCaller();
    throw error;
  }
}
