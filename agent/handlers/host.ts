/** Handler of host.info. */
import { arch, availableParallelism, hostname, platform, release, totalmem, uptime } from 'node:os';
import { asObject } from '../../shared/docker/json.ts';
import { isFairleadError } from '../../shared/errors.ts';
import type { hostInfo } from '../../shared/messages/host.ts';
import type { Handler } from './handler.ts';

export const handleHostInfo: Handler<typeof hostInfo> = async (stream, { docker, info }) => {
  let dockerInfo: Record<string, unknown> | undefined;
  try {
    dockerInfo = asObject(await docker.json({ method: 'GET', path: '/info', signal: stream.aborted }));
  } catch (error) {
    // The host has much to say of itself without Docker, and why Docker is not reachable is in its state.
    if (!isFairleadError(error)) throw error;
    stream.aborted.throwIfAborted();
  }
  stream.sendReply({
    hostname: hostname(),
    os: platform(),
    arch: arch(),
    kernel: release(),
    agentVersion: info.agentVersion,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    uptimeSeconds: Math.floor(uptime()),
    docker: docker.state,
    ...(dockerInfo === undefined ? {} : { dockerInfo }),
  });
  stream.finish();
};
