/** Handlers that change stacks: deploy, remove, start, stop, restart, pull, scale. */
import { FairleadError } from '../../shared/errors.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { STACK_CHANGE_KINDS, type StackChangeKind, type StackParams } from '../../shared/stacks/change.ts';
import type { Handler } from './handler.ts';

/** Serves each of these kinds: the reply comes before anything is touched, the trailer once all is done. */
const handleStackChange: Handler<StackChangeKind> = async (given, { stacks }) => {
  // The compiler does not see that each of these kinds replies and ends alike.
  const stream = given as unknown as MuxStream<StackChangeKind>;
  const params = stream.params as StackParams;
  if (stacks === undefined) throw new FairleadError('UNSUPPORTED', 'this agent changes no stacks');
  await stacks.change(stream.kind, params, {
    ready: (compose) => stream.sendReply({ compose }),
    progress: (progress) => stream.sendItem(progress),
    aborted: stream.aborted,
  });
  stream.finish({});
};

/** Each of these kinds with what serves it. */
export const STACK_CHANGES: readonly [StackChangeKind, Handler<StackChangeKind>][] = STACK_CHANGE_KINDS.map((kind) => [
  kind,
  handleStackChange,
]);
