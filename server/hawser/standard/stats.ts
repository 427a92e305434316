/** container.stats where the agent listens: begun again and again, since it cuts off a stream of them after 30 s. */
import { inspectCall, statsCall } from '../../../shared/docker/container-calls.ts';
import { asObject, jsonLines } from '../../../shared/docker/json.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import type { containerStats } from '../../../shared/messages/container.ts';
import type { Item, Params } from '../../../shared/messages/kind.ts';
import { sleep } from '../../../shared/sleep.ts';
import { hawserStream } from '../hawser-stream.ts';
import { HeldBytes } from '../held-bytes.ts';
import { hawserCall, json } from '../unary.ts';
import type { ServeStandard, StandardContext } from './kind.ts';

type Stats = typeof containerStats;

const MAX_SAMPLE_BYTES = 1024 * 1024;
/** Between two streams: one that ends at once is not begun more often. */
const BETWEEN_MS = 500;

export const serveStandardStats: ServeStandard<Stats> = async (context, params, { signal, timeoutMs }) => {
  await json(context, inspectCall(params.id), { signal, timeoutMs });
  const left = new AbortController();
  // The caller's stream has no bytes: it lasts as long as there are samples, and ends them when it is left.
  const bytes = new HeldBytes({ set: () => undefined }, () => left.abort());
  bytes.resume();
  async function* items(): AsyncGenerator<Item<Stats>> {
    try {
      yield* samples(context, params, left.signal);
      bytes.finish();
    } catch (error) {
      if (left.signal.aborted) throw bytes.errored ?? error;
      bytes.destroy(error as Error);
      throw error;
    } finally {
      bytes.destroy();
    }
  }
  return hawserStream<Stats>({ reply: {}, bytes, items, signal });
};

async function* samples(
  context: StandardContext,
  params: Params<Stats>,
  left: AbortSignal,
): AsyncGenerator<Item<Stats>> {
  if (params.stream === false) {
    yield asObject(await json(context, statsCall(params), { signal: left })) as Item<Stats>;
    return;
  }
  do {
    yield* oneStream(context, params, left);
    await sleep(BETWEEN_MS, context.transport.clock, left);
  } while (await isThere(context, params.id, left));
}

/** As many as come until the stream ends, or is cut off. */
async function* oneStream(
  { transport }: StandardContext,
  params: Params<Stats>,
  left: AbortSignal,
): AsyncGenerator<Item<Stats>> {
  const source = transport.stream(hawserCall(statsCall(params)));
  const onLeft = () => source.destroy();
  left.addEventListener('abort', onLeft, { once: true });
  if (left.aborted) onLeft();
  let hasCome = false;
  try {
    for await (const sample of jsonLines(source, MAX_SAMPLE_BYTES)) {
      hasCome = true;
      yield sample as Item<Stats>;
    }
  } catch (error) {
    // Whether the host is gone, too, is seen by the next question.
    if (!hasCome || !isFairleadError(error, 'STREAM_INTERRUPTED')) throw error;
  } finally {
    left.removeEventListener('abort', onLeft);
    source.destroy();
  }
}

/** Docker itself ends the statistics of a container that is removed. */
async function isThere(context: StandardContext, id: string, left: AbortSignal): Promise<boolean> {
  try {
    await json(context, inspectCall(id), { signal: left });
    return true;
  } catch (error) {
    if (isFairleadError(error, 'CONTAINER_NOT_FOUND')) return false;
    throw error;
  }
}
