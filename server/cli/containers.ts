/** Containers and their statistics as tables show them. */
import type { ContainerSummary, CpuStats, StatsSample } from './api-types.ts';
import { bytes, shortId } from './format.ts';
import type { Column } from './table.ts';

export const CONTAINER_COLUMNS: readonly Column<ContainerSummary>[] = [
  ['CONTAINER', (row) => shortId(row.Id)],
  ['NAME', (row) => row.Names?.map((name) => name.replace(/^\//, '')).join(',')],
  ['IMAGE', (row) => row.Image && imageName(row.Image)],
  ['STATE', (row) => row.State],
  ['STATUS', (row) => row.Status],
  ['PORTS', ports],
];

/** An image without a name stands there by its id. */
function imageName(image: string): string {
  return image.startsWith('sha256:') ? shortId(image) : image;
}

function ports(row: ContainerSummary): string {
  const texts = (row.Ports ?? []).map(({ IP, PrivatePort, PublicPort, Type }) => {
    const inside = `${PrivatePort}/${Type}`;
    if (PublicPort === undefined) return inside;
    const address = IP?.includes(':') ? `[${IP}]` : (IP ?? '');
    return `${address}:${PublicPort}->${inside}`;
  });
  return [...new Set(texts)].sort().join(', ');
}

/** Per cent of one CPU between two readings, as `docker stats` counts it; undefined for the first sample. */
export function cpuPercent(sample: StatsSample): number | undefined {
  const used = difference(sample, (cpu) => cpu.cpu_usage?.total_usage);
  const total = difference(sample, (cpu) => cpu.system_cpu_usage);
  if (used === undefined || total === undefined || total <= 0 || used < 0) return undefined;
  return (used / total) * (sample.cpu_stats?.online_cpus ?? 1) * 100;
}

function difference(sample: StatsSample, pick: (cpu: CpuStats) => number | undefined): number | undefined {
  const now = sample.cpu_stats && pick(sample.cpu_stats);
  const before = sample.precpu_stats && pick(sample.precpu_stats);
  return now === undefined || before === undefined ? undefined : now - before;
}

/** Memory in use without the page cache that the kernel can take back, as `docker stats` counts it. */
export function memoryUsed(sample: StatsSample): number | undefined {
  const { usage, stats } = sample.memory_stats ?? {};
  if (usage === undefined) return undefined;
  // cgroup v1 names it total_inactive_file, v2 inactive_file.
  const cache = stats?.['total_inactive_file'] ?? stats?.['inactive_file'] ?? 0;
  return cache < usage ? usage - cache : usage;
}

/** One sample as a line. */
export function statsLine(sample: StatsSample): string {
  const cpu = cpuPercent(sample);
  const memory = memoryUsed(sample);
  const limit = sample.memory_stats?.limit;
  const networks = Object.values(sample.networks ?? {});
  const received = networks.reduce((sum, one) => sum + one.rx_bytes, 0);
  const sent = networks.reduce((sum, one) => sum + one.tx_bytes, 0);
  return [
    `cpu ${cpu === undefined ? '-' : `${cpu.toFixed(1)} %`}`,
    `memory ${memory === undefined ? '-' : bytes(memory)}${limit === undefined ? '' : ` of ${bytes(limit)}`}`,
    `network ${bytes(received)} in, ${bytes(sent)} out`,
    `processes ${sample.pids_stats?.current ?? '-'}`,
  ].join('  ');
}
