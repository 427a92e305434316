/** Handlers of host.metrics and host.stats: what this host uses, again and again, and what its containers use now. */
import { type hostMetrics, hostStats } from '../../shared/messages/metrics.ts';
import { sleep } from '../../shared/sleep.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { ContainerSampler } from '../metrics/container-sampler.ts';
import { HostCollector } from '../metrics/host-collector.ts';
import { sampleBetween } from '../metrics/sample.ts';
import type { Handler } from './handler.ts';

/** The time that the first sample is about. */
const FIRST_SAMPLE_MS = 1_000;

/** Each engine has its own, for all streams. */
const collectors = new WeakMap<DockerEngine, HostCollector>();
const samplers = new WeakMap<DockerEngine, ContainerSampler>();

function ofEngine<T>(made: WeakMap<DockerEngine, T>, docker: DockerEngine, make: () => T): T {
  const value = made.get(docker) ?? make();
  made.set(docker, value);
  return value;
}

/** A sample waits until the one before it was taken in: what the server does not read is never made. */
export const handleHostMetrics: Handler<typeof hostMetrics> = async (stream, { docker }) => {
  const { params, aborted } = stream;
  const { clock } = docker;
  const collector = ofEngine(collectors, docker, () => new HostCollector(docker));
  stream.sendReply({});
  let before = await collector.read();
  let dueAt = clock.monotonic() + FIRST_SAMPLE_MS;
  let stepMs = params.secondAfterMs ?? params.intervalMs;
  for (;;) {
    await sleep(Math.max(0, dueAt - clock.monotonic()), clock, aborted);
    const after = await collector.read();
    await stream.sendItem(sampleBetween(before, after));
    before = after;
    if (params.intervalMs === undefined || stepMs === undefined) break;
    // What was missed, as by a machine that slept, is not made up for.
    dueAt = Math.max(dueAt + stepMs, clock.monotonic());
    stepMs = params.intervalMs;
  }
  stream.finish();
};

export const handleHostStats: Handler<typeof hostStats> = async (stream, { docker }) => {
  docker.requireNamed(hostStats, { method: 'GET', path: '/containers/json' });
  docker.requireNamed(hostStats, { method: 'GET', path: '/containers/any/stats' });
  const sampler = ofEngine(samplers, docker, () => new ContainerSampler(docker));
  const containers = await sampler.running(stream.aborted);
  stream.sendReply({ count: containers.length });
  await sampler.sample(containers, (use) => stream.sendItem(use), stream.aborted);
  stream.finish();
};
