/** Handler of stack.logs: the logs of all containers of a stack, as fast as the reader takes them. */
import type { stackLogs } from '../../shared/messages/stack.ts';
import { MergedLogs, stackLogOptions } from '../../shared/stacks/merged-logs.ts';
import type { Handler } from './handler.ts';

export const handleStackLogs: Handler<typeof stackLogs> = async (stream, { docker }) => {
  const { params, aborted } = stream;
  const now = docker.clock.now();
  const options = stackLogOptions(params, now);
  const ending = new AbortController();
  const onAborted = () => ending.abort(aborted.reason);
  aborted.addEventListener('abort', onAborted);
  try {
    aborted.throwIfAborted();
    const logs = new MergedLogs(docker, options, ending.signal);
    stream.sendReply({ containers: await logs.open(), openedAt: new Date(now).toISOString() });
    for await (const lines of logs.batches()) await stream.sendItem(lines);
    stream.finish();
  } finally {
    aborted.removeEventListener('abort', onAborted);
    // Whatever else has failed: no log goes on without its reader.
    ending.abort();
  }
};
