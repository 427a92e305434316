/** Handlers that look at stacks: list, status. */
import type { stackList, stackStatus } from '../../shared/messages/stack.ts';
import { containersOf, summaries } from '../../shared/stacks/project.ts';
import type { Handler } from './handler.ts';

export const handleStackList: Handler<typeof stackList> = async (stream, { docker }) => {
  const stacks = summaries(await containersOf(docker, undefined, stream.aborted));
  stream.sendReply({ count: stacks.length });
  for (const stack of stacks) await stream.sendItem(stack);
  stream.finish();
};

export const handleStackStatus: Handler<typeof stackStatus> = async (stream, { docker, stacks }) => {
  const { stack } = stream.params;
  const containers = await containersOf(docker, stack, stream.aborted);
  const change = stacks?.lastChange(stack);
  stream.sendReply({ count: containers.length, ...(change === undefined ? {} : { change }) });
  for (const container of containers) await stream.sendItem(container);
  stream.finish();
};
