/** Docker of a Hawser host, as what reads of it elsewhere asks for it. */
import type { DockerCall } from '../../shared/docker/call.ts';
import type { DockerReader } from '../../shared/stacks/docker-reader.ts';
import type { HeldBytes } from './held-bytes.ts';
import type { KindContext } from './kind.ts';
import { refuseBy } from './refusal-stream.ts';
import type { HawserTransport } from './transport.ts';
import { hawserCall, json } from './unary.ts';

export function dockerReader(context: KindContext): DockerReader {
  return {
    clock: context.transport.clock,
    json: async ({ signal, timeoutMs, ...call }) => await json(context, call, { signal, timeoutMs }),
    stream: async (call, isForeign = false) => openStream(context.transport, call, isForeign),
  };
}

/**
 * The bytes of a streamed answer, until the signal of the call fires.
 * @param isForeign whether they may be anything: what looks like a refusal of Docker's is none then
 * @throws FairleadError HOST_OFFLINE, OVERLOADED, the reason of the signal
 */
export function openStream(transport: HawserTransport, { signal, ...call }: DockerCall, isForeign = false): HeldBytes {
  signal?.throwIfAborted();
  const bytes = transport.stream(hawserCall(call));
  if (!isForeign) refuseBy(bytes);
  const onAbort = () => bytes.destroy(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  bytes.once('close', () => signal?.removeEventListener('abort', onAbort));
  bytes.once('end', () => signal?.removeEventListener('abort', onAbort));
  return bytes;
}
