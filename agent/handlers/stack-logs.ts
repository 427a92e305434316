/** Handler of stack.logs: the logs of all containers of a stack, as fast as the reader takes them. */

import { toDockerTime } from '../../shared/docker/time.ts';
import type { stackLogs } from '../../shared/messages/stack.ts';
import { MergedLogs } from '../../shared/stacks/merged-logs.ts';
import type { Handler } from './handler.ts';

export const handleStackLogs: Handler<typeof stackLogs> = async (stream, { docker }) => {
  const { params, aborted } = stream;
  const now = docker.clock.now();
  const { stack, services, follow = false, tail, since, until } = params;
  const time = (given: string | undefined) => (given === undefined ? undefined : toDockerTime(given, now));
  const options = { stack, services, follow, tail: tail ?? ('all' as const), since: time(since), until: time(until) };
  const ending = new AbortController();
  const onAborted = () => ending.abort(aborted.reason);
  aborted.addEventListener('abort', onAborted);
  try {
    aborted.throwIfAborted();
    const logs = new MergedLogs(docker, options, ending.signal);
    stream.sendReply({ containers: await logs.open() });
    for await (const lines of logs.batches()) await stream.sendItem(lines);
    stream.finish();
  } finally {
    aborted.removeEventListener('abort', onAborted);
    // Whatever else has failed: no log goes on without its reader.
    ending.abort();
  }
};
