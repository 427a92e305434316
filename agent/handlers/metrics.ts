/** Handlers of host.metrics and host.stats: what this host uses, and what its containers use. */
import type { hostMetrics, hostStats } from '../../shared/messages/metrics.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { ContainerSampler } from '../metrics/container-sampler.ts';
import { collectorOf } from '../metrics/host-collector.ts';
import type { Handler } from './handler.ts';

/** Each engine has its own, for all callers. */
const samplers = new WeakMap<DockerEngine, ContainerSampler>();

function samplerOf(docker: DockerEngine): ContainerSampler {
  const sampler = samplers.get(docker) ?? new ContainerSampler(docker);
  samplers.set(docker, sampler);
  return sampler;
}

export const handleHostMetrics: Handler<typeof hostMetrics> = async (stream, { docker }) => {
  stream.sendReply(await collectorOf(docker).sample(stream.params.since, stream.aborted));
  stream.finish();
};

export const handleHostStats: Handler<typeof hostStats> = async (stream, { docker }) => {
  docker.requirePermitted({ method: 'GET', path: '/containers/any/stats' });
  const sampler = samplerOf(docker);
  const containers = await sampler.running(stream.aborted);
  stream.sendReply({ count: containers.length });
  await sampler.sample(containers, (use) => stream.sendItem(use), stream.aborted);
  stream.finish();
};
