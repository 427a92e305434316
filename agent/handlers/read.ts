/** Handlers of kinds that read by one call of Docker's API: lists, and single objects. */

import type { DockerCall } from '../../shared/docker/call.ts';
import { asObject, asObjects, type DockerObject as Found } from '../../shared/docker/json.ts';
import type { ListKind, ReadKind } from '../../shared/docker/unary-call.ts';
import type { Params } from '../../shared/messages/kind.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import type { Handler } from './handler.ts';

/** Room for some 10,000 containers. */
const MAX_LIST_BYTES = 32 * 1024 * 1024;

/** A handler that sends what Docker lists, item by item. @param objectsOf finds the list in Docker's answer */
export function list<K extends ListKind>(
  callOf: (params: Params<K>) => DockerCall,
  objectsOf: (answer: unknown) => Found[] = asObjects,
): Handler<K> {
  return async (given, { docker }) => {
    // The compiler does not see through the generic kind that each of them replies and sends items alike.
    const stream = given as unknown as MuxStream<ListKind>;
    const call = { ...callOf(given.params), signal: stream.aborted, maxBytes: MAX_LIST_BYTES };
    const objects = objectsOf(await docker.json(call));
    stream.sendReply({ count: objects.length });
    for (const object of objects) await stream.sendItem(object);
    stream.finish();
  };
}

/** A handler that answers with Docker's object. */
export function read<K extends ReadKind>(callOf: (params: Params<K>) => DockerCall): Handler<K> {
  return async (given, { docker }) => {
    const stream = given as unknown as MuxStream<ReadKind>;
    stream.sendReply(asObject(await docker.json({ ...callOf(given.params), signal: stream.aborted })));
    stream.finish();
  };
}
