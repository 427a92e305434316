/** Handlers that read containers: list, inspect, top, stats. */
import type { containerInspect, containerList, containerStats, containerTop } from '../../shared/messages/container.ts';
import { dockerPath } from '../docker/call.ts';
import { asObject, asObjects, jsonLines } from '../docker/json.ts';
import type { Handler } from './handler.ts';

/** Room for some 10,000 containers. */
const MAX_LIST_BYTES = 32 * 1024 * 1024;
const MAX_SAMPLE_BYTES = 1024 * 1024;

export const handleList: Handler<typeof containerList> = async (stream, { docker }) => {
  const answer = await docker.json({
    method: 'GET',
    path: '/containers/json',
    query: stream.params.all === true ? { all: 1 } : {},
    signal: stream.aborted,
    maxBytes: MAX_LIST_BYTES,
  });
  const containers = asObjects(answer);
  stream.sendReply({ count: containers.length });
  for (const container of containers) await stream.sendItem(container);
  stream.finish();
};

export const handleInspect: Handler<typeof containerInspect> = async (stream, { docker }) => {
  const path = dockerPath`/containers/${stream.params.id}/json`;
  stream.sendReply(asObject(await docker.json({ method: 'GET', path, signal: stream.aborted })));
  stream.finish();
};

export const handleTop: Handler<typeof containerTop> = async (stream, { docker }) => {
  const { id, psArgs } = stream.params;
  const answer = await docker.json({
    method: 'GET',
    path: dockerPath`/containers/${id}/top`,
    query: psArgs === undefined ? {} : { ps_args: psArgs },
    signal: stream.aborted,
  });
  stream.sendReply(asObject(answer));
  stream.finish();
};

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
