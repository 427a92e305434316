/** Handlers that read containers: list, inspect, top, stats. */
import type { containerInspect, containerList, containerStats, containerTop } from '../../shared/messages/container.ts';
import { dockerPath } from '../docker/call.ts';
import { jsonLines } from '../docker/json.ts';
import type { Handler } from './handler.ts';
import { list, read } from './read.ts';

const MAX_SAMPLE_BYTES = 1024 * 1024;

export const handleList = list<typeof containerList>(({ all }) => ({
  method: 'GET',
  path: '/containers/json',
  query: all === true ? { all: 1 } : {},
}));

export const handleInspect = read<typeof containerInspect>(({ id }) => ({
  method: 'GET',
  path: dockerPath`/containers/${id}/json`,
}));

export const handleTop = read<typeof containerTop>(({ id, psArgs }) => ({
  method: 'GET',
  path: dockerPath`/containers/${id}/top`,
  query: psArgs === undefined ? {} : { ps_args: psArgs },
}));

export const handleStats: Handler<typeof containerStats> = async (stream, { docker }) => {
  const { id, stream: follow = true } = stream.params;
  const body = await docker.stream({
    method: 'GET',
    path: dockerPath`/containers/${id}/stats`,
    query: { stream: follow ? 1 : 0 },
    signal: stream.aborted,
  });
  stream.sendReply({});
  for await (const sample of jsonLines(body, MAX_SAMPLE_BYTES)) await stream.sendItem(sample);
  stream.finish();
};
