/** Handlers that change containers: start, stop, restart, kill, pause, unpause, remove. */
import type * as kinds from '../../shared/messages/container.ts';
import type { Params } from '../../shared/messages/kind.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { type DockerCall, dockerPath } from '../docker/call.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { neverSent } from '../docker/failure.ts';
import type { Handler } from './handler.ts';
import { Once } from './once.ts';

/** Docker waits for a container to end; how long is in the container's own settings where the call says nothing. */
const LONGEST_STOP_SECONDS = 3600;
/** Time for Docker's own work beside that wait. */
const STOP_MARGIN_SECONDS = 30;

type ChangeKind =
  | typeof kinds.containerStart
  | typeof kinds.containerStop
  | typeof kinds.containerRestart
  | typeof kinds.containerKill
  | typeof kinds.containerPause
  | typeof kinds.containerUnpause
  | typeof kinds.containerRemove;

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

/** A handler that makes one call of the parameters. A call once sent is not taken back when the caller leaves. */
function change<K extends ChangeKind>(callOf: (params: Params<K>) => DockerCall): Handler<K> {
  return async (stream, { docker }) => {
    // The compiler does not see through the generic kind that each of them has these two.
    const { kind, params } = stream as MuxStream as MuxStream<ChangeKind>;
    const { idempotencyKey, ...asked } = params;
    const call = callOf(stream.params);
    const act = () => docker.act(call);
    if (idempotencyKey === undefined) await act();
    else await memoryOf(docker).run(idempotencyKey, `${kind.name} ${JSON.stringify(asked)}`, act);
    stream.sendReply({} as Parameters<typeof stream.sendReply>[0]);
    stream.finish();
  };
}

function stopTime(timeoutSeconds: number | undefined): Pick<DockerCall, 'query' | 'timeoutMs'> {
  const seconds = timeoutSeconds === undefined || timeoutSeconds < 0 ? LONGEST_STOP_SECONDS : timeoutSeconds;
  return {
    query: timeoutSeconds === undefined ? {} : { t: timeoutSeconds },
    timeoutMs: (seconds + STOP_MARGIN_SECONDS) * 1000,
  };
}

export const handleStart = change<typeof kinds.containerStart>(({ id }) => ({
  method: 'POST',
  path: dockerPath`/containers/${id}/start`,
}));

export const handleStop = change<typeof kinds.containerStop>(({ id, timeoutSeconds }) => ({
  method: 'POST',
  path: dockerPath`/containers/${id}/stop`,
  ...stopTime(timeoutSeconds),
}));

export const handleRestart = change<typeof kinds.containerRestart>(({ id, timeoutSeconds }) => ({
  method: 'POST',
  path: dockerPath`/containers/${id}/restart`,
  ...stopTime(timeoutSeconds),
}));

export const handleKill = change<typeof kinds.containerKill>(({ id, signal }) => ({
  method: 'POST',
  path: dockerPath`/containers/${id}/kill`,
  query: signal === undefined ? {} : { signal },
}));

export const handlePause = change<typeof kinds.containerPause>(({ id }) => ({
  method: 'POST',
  path: dockerPath`/containers/${id}/pause`,
}));

export const handleUnpause = change<typeof kinds.containerUnpause>(({ id }) => ({
  method: 'POST',
  path: dockerPath`/containers/${id}/unpause`,
}));

export const handleRemove = change<typeof kinds.containerRemove>(({ id, force, volumes }) => ({
  method: 'DELETE',
  path: dockerPath`/containers/${id}`,
  query: { force: force === true ? 1 : 0, v: volumes === true ? 1 : 0 },
}));
