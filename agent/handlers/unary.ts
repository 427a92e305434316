/** Handlers of kinds that one call of Docker's API serves, made of what `shared/docker` says of each. */
import type { UnaryCall } from '../../shared/docker/unary-call.ts';
import { UNARY_CALLS } from '../../shared/docker/unary-calls.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import { change, changeWithAnswer } from './change.ts';
import type { Handler } from './handler.ts';
import { list, read } from './read.ts';

export const UNARY_HANDLERS: readonly (readonly [StreamKind, Handler])[] = UNARY_CALLS.map((call) => [
  call.kind,
  handlerOf(call),
]);

function handlerOf(call: UnaryCall): Handler {
  // A handler is only ever given streams of its own kind, whose parameters its call takes.
  if (call.shape === 'list') return list(call.callOf, call.objectsOf) as unknown as Handler;
  if (call.shape === 'read') return read(call.callOf) as unknown as Handler;
  return call.replyOf === undefined ? change(call.callOf) : changeWithAnswer(call.callOf, call.replyOf);
}
