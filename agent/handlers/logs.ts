/** Handler of container.log.stream: Docker's own bytes, as fast as the reader takes them. */
import type { containerLogStream } from '../../shared/messages/container.ts';
import type { Params } from '../../shared/messages/kind.ts';
import { pump } from '../../shared/pump.ts';
import { dockerPath } from '../docker/call.ts';
import { asObject } from '../docker/json.ts';
import { toDockerTime } from '../docker/time.ts';
import type { Handler } from './handler.ts';

export const handleLogStream: Handler<typeof containerLogStream> = async (stream, { docker }) => {
  const { params, aborted } = stream;
  const query = logQuery(params, docker.clock.now());
  const inspectPath = dockerPath`/containers/${params.id}/json`;
  const container = asObject(await docker.json({ method: 'GET', path: inspectPath, signal: aborted }));
  const logs = await docker.stream({
    method: 'GET',
    path: dockerPath`/containers/${params.id}/logs`,
    query,
    signal: aborted,
  });
  try {
    stream.sendReply({ tty: asObject(container['Config'])['Tty'] === true });
    await pump(logs, stream.bytes, aborted);
    stream.finish();
  } finally {
    logs.destroy();
  }
};

function logQuery(params: Params<typeof containerLogStream>, now: number): Record<string, string | number> {
  const { follow = false, tail, since, until, timestamps = false, stdout = true, stderr = true } = params;
  return {
    follow: Number(follow),
    stdout: Number(stdout),
    stderr: Number(stderr),
    timestamps: Number(timestamps),
    tail: tail ?? 'all',
    ...(since === undefined ? {} : { since: toDockerTime(since, now) }),
    ...(until === undefined ? {} : { until: toDockerTime(until, now) }),
  };
}
