/** The logs of a stack as a route gives them: once, or followed over the absences of their host. */
import type { Params } from '../../shared/messages/kind.ts';
import { stackLogs } from '../../shared/messages/stack.ts';
import { type OpenedStackLogs, type StackLogEntry, tailStackLogs } from '../../shared/stacks/log-tail.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { endingStream } from './followed-log.ts';
import { type ComebackOptions, HostComeback } from './host-comeback.ts';

type LogParams = Params<typeof stackLogs>;

/** Reads logs until they end, or an interruption ends them. */
export async function readStackLogs(
  link: HostLink,
  params: LogParams,
  { signal }: Pick<ComebackOptions, 'signal'>,
): Promise<OpenedStackLogs> {
  const logs = await link.open(stackLogs, params, { signal });
  return { openedAt: logs.reply.openedAt, entries: endingStream(logs, logs.items()) };
}

/**
 * Follows logs: when their host was away each goes on where it stopped.
 * @param gaps whether an entry may tell that a part of a log was rotated away; without this that is a failure
 */
export async function followStackLogs(
  link: HostLink,
  { stack, services, follow, ...ask }: LogParams,
  gaps: boolean,
  options: Omit<ComebackOptions, 'hostId'>,
): Promise<OpenedStackLogs> {
  const comeback = new HostComeback({ ...options, hostId: link.hostId });
  const which = { stack, ...(services === undefined ? {} : { services }), follow: true };
  const first = await readStackLogs(link, { ...which, ...ask }, options);
  const entries: AsyncIterable<readonly StackLogEntry[]> = tailStackLogs(first, {
    ...{ ask, gaps, clock: options.clock },
    reopen: (error, livedMs, again) =>
      comeback.reopen(error, livedMs, (present) => readStackLogs(present, { ...which, ...again }, options)),
  });
  return { openedAt: first.openedAt, entries };
}
