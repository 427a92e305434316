/** The items of a stream as its opener takes them, each decoded and validated when it is its turn. */
import { FairleadError } from '../errors.ts';
import { fits } from '../validate.ts';
import type { StreamCore } from './stream-core.ts';
import { decodeChecked } from './values.ts';

/** To be iterated once; leaving it early resets the stream. */
export async function* takeItems(core: StreamCore): AsyncGenerator<unknown> {
  let complete = false;
  try {
    for (;;) {
      const item = core.inbox.nextItem();
      if (item !== undefined) {
        yield decodeItem(core, item.bytes);
        continue;
      }
      if (core.error !== undefined) throw core.error;
      if (core.inbox.ended) break;
      await new Promise<void>((resolve) => {
        core.itemsWaiting = resolve;
      });
    }
    complete = true;
  } finally {
    if (!complete) {
      core.reset(new FairleadError('CANCELLED', 'the reader left the stream'));
      core.inbox.close();
    }
  }
}

/** @throws FairleadError MESSAGE_INVALID, after the stream was reset */
function decodeItem(core: StreamCore, bytes: Uint8Array): unknown {
  const what = `the item of ${core.kind.name}`;
  const value = decodeChecked(bytes, what);
  if (core.kind.item !== undefined && fits(core.kind.item, value)) return value;
  const error = new FairleadError('MESSAGE_INVALID', `${what} does not fit its schema`);
  core.reset(error);
  throw error;
}
