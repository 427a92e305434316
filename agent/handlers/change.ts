/** Handlers of kinds that change something by one call of Docker's API, which is made once for each idempotency key. */
import { createHash } from 'node:crypto';
import type { DockerCall } from '../../shared/docker/call.ts';
import type { Params, Reply, StreamKind } from '../../shared/messages/kind.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { Once } from '../../shared/once.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { neverSent } from '../docker/failure.ts';
import type { Handler } from './handler.ts';

/** Each engine has its own memory of what was done. */
const memories = new WeakMap<DockerEngine, Once>();

function memoryOf(docker: DockerEngine): Once {
  let memory = memories.get(docker);
  if (memory === undefined) {
    memory = new Once({ clock: docker.clock, undone: neverSent });
    memories.set(docker, memory);
  }
  return memory;
}

/**
 * Runs `act` once for the idempotency key among the parameters, if there is one: a repeat, also one that comes meanwhile,
 * gets the outcome of the first. A key is good for one call; the outcome of it is kept for ten minutes.
 * @throws FairleadError CONFLICT when the key was used for another call; what `act` fails with
 */
export async function actOnce<K extends StreamKind, T>(
  stream: Pick<MuxStream<K>, 'kind' | 'params'>,
  docker: DockerEngine,
  act: () => Promise<T>,
): Promise<T> {
  const { idempotencyKey, ...asked } = stream.params as { readonly idempotencyKey?: string };
  if (idempotencyKey === undefined) return await act();
  // What was asked for may be large, and hold secrets: its digest tells two calls apart as well.
  const digest = createHash('sha256').update(JSON.stringify(asked)).digest('base64');
  return await memoryOf(docker).run(idempotencyKey, `${stream.kind.name} ${digest}`, act);
}

/** A handler that makes one call of the parameters. A call once sent is not taken back when the caller leaves. */
export function change<K extends StreamKind>(callOf: (params: Params<K>) => DockerCall): Handler<K> {
  return async (stream, { docker }) => {
    await actOnce(stream, docker, () => docker.act(callOf(stream.params)));
    stream.sendReply({} as Reply<K>);
    stream.finish();
  };
}

/**
 * As `change`, for a call whose answer says something.
 * @param replyOf makes the reply of Docker's answer, which may be anything
 */
export function changeWithAnswer<K extends StreamKind>(
  callOf: (params: Params<K>) => DockerCall,
  replyOf: (answer: unknown) => Reply<K>,
): Handler<K> {
  return async (stream, { docker }) => {
    const reply = await actOnce(stream, docker, async () => replyOf(await docker.json(callOf(stream.params))));
    stream.sendReply(reply);
    stream.finish();
  };
}
