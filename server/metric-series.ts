/** What single hosts use, as series for Prometheus: of samples that still say what is now, and of no others. */
import type { HostSample } from '../shared/messages/metrics.ts';

/** A sample that still counts, and how old it is. */
export interface CurrentSample {
  readonly sample: HostSample;
  readonly ageMs: number;
}

export interface MetricSeries {
  readonly name: string;
  readonly type: 'gauge';
  readonly help: string;
  /** More labels, each with its value; what a host did not tell has no sample. */
  samples(current: CurrentSample): readonly (readonly [labels: string, value: number | undefined])[];
}

/** Hundredths of a per cent, in which samples are told, without a binary fraction behind. */
const ratio = (percent: number | undefined) => (percent === undefined ? undefined : Math.round(percent * 100) / 10_000);

export const METRIC_SERIES: readonly MetricSeries[] = [
  gauge('fairlead_host_sample_age_seconds', 'Age of the sample that the figures of the host are from', (current) => [
    ['', Math.round(current.ageMs) / 1000],
  ]),
  gauge('fairlead_host_uptime_seconds', 'Time since the host was started', ({ sample }) => [
    ['', sample.uptimeSeconds],
  ]),
  gauge('fairlead_host_cpu_usage_ratio', 'What all cores together were busy with, of 1', ({ sample: { cpu } }) => [
    ['', ratio(cpu?.percent)],
  ]),
  gauge('fairlead_host_cpu_mode_ratio', 'The same, by what they did; iowait is idle', ({ sample: { cpu } }) => [
    [',mode="user"', ratio(cpu?.user)],
    [',mode="system"', ratio(cpu?.system)],
    [',mode="iowait"', ratio(cpu?.iowait)],
    [',mode="steal"', ratio(cpu?.steal)],
  ]),
  gauge('fairlead_host_cpus', 'Cores', ({ sample: { cpu } }) => [['', cpu?.cores.length]]),
  gauge('fairlead_host_load', 'Load averages', ({ sample: { load } }) => [
    [',window="1m"', load?.[0]],
    [',window="5m"', load?.[1]],
    [',window="15m"', load?.[2]],
  ]),
  gauge('fairlead_host_memory_bytes', 'Memory: all of it, used, and what programs can still have', ({ sample }) => [
    [',kind="total"', sample.memory?.totalBytes],
    [',kind="used"', sample.memory?.usedBytes],
    [',kind="available"', sample.memory?.availableBytes],
  ]),
  gauge('fairlead_host_swap_bytes', 'Swap, of hosts that have any', ({ sample: { swap } }) => [
    [',kind="total"', swap?.totalBytes],
    [',kind="used"', swap?.usedBytes],
  ]),
  gauge('fairlead_host_docker_disk_bytes', "The disk of Docker's data", ({ sample: { disk } }) => [
    [',kind="total"', disk?.totalBytes],
    [',kind="used"', disk?.usedBytes],
    [',kind="available"', disk?.availableBytes],
  ]),
  gauge('fairlead_host_network_bytes_per_second', 'Bytes of all network cards', ({ sample: { network } }) => [
    [',direction="received"', network?.receivedBytesPerSecond],
    [',direction="sent"', network?.sentBytesPerSecond],
  ]),
];

function gauge(name: string, help: string, samples: MetricSeries['samples']): MetricSeries {
  return { name, type: 'gauge', help, samples };
}
