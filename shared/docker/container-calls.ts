/** Calls of Docker's API that act on containers. */
import * as kinds from '../messages/container.ts';
import type { Params } from '../messages/kind.ts';
import { type DockerCall, dockerPath, filtersQuery } from './call.ts';
import { LONG_CALL_MS, PRUNE_CALL_MS } from './call-times.ts';
import { asCount, asObject, asTexts } from './json.ts';
import { toDockerTime } from './time.ts';
import { change, list, read, type UnaryCall } from './unary-call.ts';

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

export const CONTAINER_CALLS: readonly UnaryCall[] = [
  list(kinds.containerList, ({ all }) => ({
    method: 'GET',
    path: '/containers/json',
    query: all === true ? { all: 1 } : {},
  })),
  read(kinds.containerInspect, ({ id }) => inspectCall(id)),
  read(kinds.containerTop, ({ id, psArgs }) => ({
    method: 'GET',
    path: dockerPath`/containers/${id}/top`,
    query: psArgs === undefined ? {} : { ps_args: psArgs },
  })),
  change(
    kinds.containerCreate,
    ({ name, platform, config }) => ({
      method: 'POST',
      path: '/containers/create',
      query: { ...(name === undefined ? {} : { name }), ...(platform === undefined ? {} : { platform }) },
      body: config,
      timeoutMs: LONG_CALL_MS,
    }),
    (answer) => {
      const { Id, Warnings } = asObject(answer);
      return { id: String(Id), warnings: asTexts(Warnings) };
    },
  ),
  change(kinds.containerStart, ({ id }) => ({ method: 'POST', path: dockerPath`/containers/${id}/start` })),
  change(kinds.containerStop, ({ id, timeoutSeconds }) => ({
    method: 'POST',
    path: dockerPath`/containers/${id}/stop`,
    ...stopTime(timeoutSeconds),
  })),
  change(kinds.containerRestart, ({ id, timeoutSeconds }) => ({
    method: 'POST',
    path: dockerPath`/containers/${id}/restart`,
    ...stopTime(timeoutSeconds),
  })),
  change(kinds.containerKill, ({ id, signal }) => ({
    method: 'POST',
    path: dockerPath`/containers/${id}/kill`,
    query: signal === undefined ? {} : { signal },
  })),
  change(kinds.containerPause, ({ id }) => ({ method: 'POST', path: dockerPath`/containers/${id}/pause` })),
  change(kinds.containerUnpause, ({ id }) => ({ method: 'POST', path: dockerPath`/containers/${id}/unpause` })),
  change(kinds.containerRename, ({ id, name }) => ({
    method: 'POST',
    path: dockerPath`/containers/${id}/rename`,
    query: { name },
  })),
  change(kinds.containerRemove, ({ id, force, volumes }) => ({
    method: 'DELETE',
    path: dockerPath`/containers/${id}`,
    query: { force: force === true ? 1 : 0, v: volumes === true ? 1 : 0 },
  })),
  change(
    kinds.containerPrune,
    ({ filters }) => ({
      method: 'POST',
      path: '/containers/prune',
      query: filtersQuery(filters),
      timeoutMs: PRUNE_CALL_MS,
    }),
    (answer) => {
      const { ContainersDeleted, SpaceReclaimed } = asObject(answer);
      return { ContainersDeleted: asTexts(ContainersDeleted), SpaceReclaimed: asCount(SpaceReclaimed) };
    },
  ),
];

export function inspectCall(id: string): DockerCall {
  return { method: 'GET', path: dockerPath`/containers/${id}/json` };
}

/** The call of container.stats. Its answer has one sample per line. */
export function statsCall({ id, stream = true }: Params<typeof kinds.containerStats>): DockerCall {
  return { method: 'GET', path: dockerPath`/containers/${id}/stats`, query: { stream: stream ? 1 : 0 } };
}

/**
 * The call of container.log.stream.
 * @param now ms since 1970, for times that count back from it
 * @throws FairleadError VALIDATION
 */
export function logCall(params: Params<typeof kinds.containerLogStream>, now: number): DockerCall {
  const { id, follow = false, tail, since, until, timestamps = false, stdout = true, stderr = true } = params;
  const query = {
    follow: Number(follow),
    stdout: Number(stdout),
    stderr: Number(stderr),
    timestamps: Number(timestamps),
    tail: tail ?? 'all',
    ...(since === undefined ? {} : { since: toDockerTime(since, now) }),
    ...(until === undefined ? {} : { until: toDockerTime(until, now) }),
  };
  return { method: 'GET', path: dockerPath`/containers/${id}/logs`, query };
}

/** Whether a container has a terminal, of what Docker says of it: its output has no frames then. @throws FairleadError DOCKER_ERROR */
export function hasTerminal(container: unknown): boolean {
  return asObject(asObject(container)['Config'])['Tty'] === true;
}
