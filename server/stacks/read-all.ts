/** What a host answers item by item, taken in whole. */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { Item, Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import type { HostLink } from '../hosts/host-link.ts';

/** Of one answer of a host. */
const MAX_ITEMS = 1_000;
const MAX_BYTES = 8 * 1024 * 1024;

/** All that a kind of items answers. @throws FairleadError OVERLOADED if it is more than is taken in */
export async function readAll<K extends StreamKind>(
  link: HostLink,
  kind: K,
  params: Params<K>,
  signal: AbortSignal,
): Promise<{ reply: Reply<K>; items: Item<K>[] }> {
  const stream = await link.open(kind, params, { signal });
  const items: Item<K>[] = [];
  let bytes = 0;
  try {
    for await (const item of stream.items()) {
      signal.throwIfAborted();
      bytes += JSON.stringify(item).length;
      if (items.length >= MAX_ITEMS || bytes > MAX_BYTES) {
        throw new FairleadError('OVERLOADED', "the host's answer is larger than what is taken in");
      }
      items.push(item);
    }
  } catch (error) {
    stream.reset(isFairleadError(error) ? error : new FairleadError('INTERNAL', 'the server failed at the answer'));
    throw error;
  }
  return { reply: stream.reply, items };
}
