/** Work with an exchange that may be called off. */
import type { RawExchange } from '../../../shared/docker/raw-exchange.ts';

/** Does `work`; the exchange does not outlive what it fails with, nor the signal. */
export async function untilAborted<T>(
  begun: Pick<RawExchange, 'destroy'>,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const onAbort = () => begun.destroy();
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    signal?.throwIfAborted();
    return await work();
  } catch (error) {
    begun.destroy();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}
