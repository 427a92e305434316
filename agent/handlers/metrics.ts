/** Handlers of host.metrics and host.stats: what this host uses, and what its containers use. */
import type { hostMetrics, hostStats } from '../../shared/messages/metrics.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { ContainerSampler } from '../metrics/container-sampler.ts';
import { HostCollector } from '../metrics/host-collector.ts';
import type { Handler } from './handler.ts';

/** Each engine has its own, for all callers. */
const collectors = new WeakMap<DockerEngine, HostCollector>();
const samplers = new WeakMap<DockerEngine, ContainerSampler>();

function ofEngine<T>(made: WeakMap<DockerEngine, T>, docker: DockerEngine, make: () => T): T {
  const value = made.get(docker) ?? make();
  made.set(docker, value);
  return value;
}

export const handleHostMetrics: Handler<typeof hostMetrics> = async (stream, { docker }) => {
  const collector = ofEngine(collectors, docker, () => new HostCollector(docker));
  stream.sendReply(await collector.sample(stream.params.since, stream.aborted));
  stream.finish();
};

export const handleHostStats: Handler<typeof hostStats> = async (stream, { docker }) => {
  docker.requirePermitted({ method: 'GET', path: '/containers/any/stats' });
  const sampler = ofEngine(samplers, docker, () => new ContainerSampler(docker));
  const containers = await sampler.running(stream.aborted);
  stream.sendReply({ count: containers.length });
  await sampler.sample(containers, (use) => stream.sendItem(use), stream.aborted);
  stream.finish();
};
