/** container.stats where the agent listens: asked for again and again, since it cuts off a stream of them after 30 s. */
import { inspectCall, statsCall } from '../../../shared/docker/container-calls.ts';
import { asObject } from '../../../shared/docker/json.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import type { containerStats } from '../../../shared/messages/container.ts';
import type { Item } from '../../../shared/messages/kind.ts';
import { sleep } from '../../../shared/sleep.ts';
import { hawserStream } from '../hawser-stream.ts';
import { HeldBytes } from '../held-bytes.ts';
import { json } from '../unary.ts';
import type { ServeStandard } from './kind.ts';

type Stats = typeof containerStats;

/** Docker takes a second or two for each; one that answers at once is not asked more often. */
const BETWEEN_MS = 500;

export const serveStandardStats: ServeStandard<Stats> = async (context, params, { signal, timeoutMs }) => {
  await json(context, inspectCall(params.id), { signal, timeoutMs });
  const left = new AbortController();
  const bytes = new HeldBytes({ set: () => undefined }, () => left.abort());
  bytes.resume();
  const call = statsCall({ ...params, stream: false });
  async function* items(): AsyncGenerator<Item<Stats>> {
    try {
      do {
        yield asObject(await json(context, call, { signal: left.signal })) as Item<Stats>;
        if (params.stream !== false) await sleep(BETWEEN_MS, context.transport.clock, left.signal);
      } while (params.stream !== false);
    } catch (error) {
      if (bytes.errored !== null) throw bytes.errored;
      // As Docker ends the stream of a container that was removed.
      const isGone = isFairleadError(error, 'CONTAINER_NOT_FOUND');
      if (!isGone && !left.signal.aborted) bytes.destroy(error as Error);
      if (!isGone) throw error;
    } finally {
      bytes.finish();
    }
  }
  return hawserStream<Stats>({ reply: {}, bytes, items, signal });
};
