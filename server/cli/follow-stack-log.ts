/** Follows the logs of a stack over a loss of the server; a host that is away is waited for there. */
import { systemClock } from '../../shared/clock.ts';
import {
  type OpenedStackLogs,
  type StackLogAsk,
  type StackLogEntry,
  tailStackLogs,
} from '../../shared/stacks/log-tail.ts';
import type { ApiClient, Query } from './api-client.ts';
import { ServerComeback } from './comeback.ts';
import type { CliIo } from './io.ts';
import { records } from './ndjson.ts';

export interface FollowedStackLogOptions {
  readonly api: ApiClient;
  readonly io: CliIo;
  /** Of the stack's logs. */
  readonly path: string;
  readonly ask: StackLogAsk;
  /** What else is asked: which services. */
  readonly query: Query;
}

/** The logs from where they are asked for, and what is missing in them. @throws FairleadError, also when the server stays away */
export async function followStackLogs(
  options: FollowedStackLogOptions,
): Promise<AsyncIterable<readonly StackLogEntry[]>> {
  const { io, ask } = options;
  const comeback = new ServerComeback(io);
  return tailStackLogs(await openLogs(options, ask), {
    ...{ ask, gaps: true, clock: systemClock },
    reopen: (error, livedMs, again) => comeback.reopen(error, livedMs, () => openLogs(options, again)),
  });
}

async function openLogs({ api, path, query }: FollowedStackLogOptions, ask: StackLogAsk): Promise<OpenedStackLogs> {
  const { tail, since, until, read } = ask;
  const body = await api.stream(path, {
    accept: 'application/x-ndjson',
    query: { ...query, follow: 1, tail, since, until, read: read?.map((one) => `${one.id}@${one.since}`) },
  });
  const openedAt = body.headers['x-fairlead-log-opened'];
  return { openedAt: typeof openedAt === 'string' ? openedAt : undefined, entries: oneByOne(records(body)) };
}

async function* oneByOne(values: AsyncIterable<unknown>): AsyncGenerator<StackLogEntry[]> {
  for await (const value of values) yield [value as StackLogEntry];
}
