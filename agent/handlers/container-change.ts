/** Handlers that change containers: start, stop, restart, kill, pause, unpause, remove. */
import type * as kinds from '../../shared/messages/container.ts';
import { type DockerCall, dockerPath } from '../docker/call.ts';
import { change } from './change.ts';

/** Docker waits for a container to end; how long is in the container's own settings where the call says nothing. */
const LONGEST_STOP_SECONDS = 3600;
/** Time for Docker's own work beside that wait. */
const STOP_MARGIN_SECONDS = 30;

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
