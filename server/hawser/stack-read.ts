/** stack.list, stack.status and stack.logs on hosts of Hawser: by the labels that Compose gives its containers. */
import type { Item, StreamKind } from '../../shared/messages/kind.ts';
import type { stackList, stackLogs, stackStatus } from '../../shared/messages/stack.ts';
import { MergedLogs, stackLogOptions } from '../../shared/stacks/merged-logs.ts';
import { containersOf, summaries } from '../../shared/stacks/project.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { dockerReader } from './docker-reader.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import type { ServeKind } from './kind.ts';
import { over } from './unary.ts';

/** For a caller that cannot be left. */
const never = () => new AbortController().signal;

export const serveStackList: ServeKind<typeof stackList> = async (context, _params, { signal = never() }) => {
  const stacks = summaries(await containersOf(dockerReader(context), undefined, signal));
  return over({ count: stacks.length }, stacks as Item<StreamKind>[]) as unknown as LinkStream<typeof stackList>;
};

export const serveStackStatus: ServeKind<typeof stackStatus> = async (context, { stack }, { signal = never() }) => {
  const containers = await containersOf(dockerReader(context), stack, signal);
  const change = context.stacks.last(stack);
  const reply = { count: containers.length, ...(change === undefined ? {} : { change }) };
  return over(reply, containers as Item<StreamKind>[]) as unknown as LinkStream<typeof stackStatus>;
};

export const serveStackLogs: ServeKind<typeof stackLogs> = async (context, params, { signal }) => {
  const reader = dockerReader(context);
  const now = reader.clock.now();
  const options = stackLogOptions(params, now);
  const ending = new AbortController();
  const onAbort = () => ending.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  // It has no bytes: whoever resets the stream ends the logs by them.
  const bytes = new HeldBytes(context.transport.wholes, () => undefined);
  bytes.once('error', (error) => ending.abort(error));
  bytes.resume();
  const end = (error?: Error) => {
    signal?.removeEventListener('abort', onAbort);
    if (error === undefined) bytes.finish();
    else bytes.destroy(error);
    ending.abort(error);
  };
  try {
    const logs = new MergedLogs(reader, options, ending.signal);
    const containers = await logs.open();
    return hawserStream<typeof stackLogs>({
      reply: { containers, openedAt: new Date(now).toISOString() },
      bytes,
      async *items() {
        try {
          yield* logs.batches();
          end();
        } catch (error) {
          end(error as Error);
          throw error;
        } finally {
          ending.abort();
        }
      },
    });
  } catch (error) {
    end(error as Error);
    throw error;
  }
};
