/** What a container uses, from two of Docker's own samples, counted as `docker stats` does. */
import type { DockerObject } from '../../shared/docker/json.ts';
import type { ContainerUse } from '../../shared/messages/metrics.ts';

type Figures = Omit<ContainerUse, 'id' | 'name' | 'error'>;

/** The figures between two samples of one container. What Docker did not tell is left out. */
export function figuresOf(before: DockerObject, after: DockerObject): Figures {
  const cpuPercent = cpuOf(before, after);
  const memory = memoryOf(objectAt(after, 'memory_stats'));
  const network = networkOf(objectAt(after, 'networks'));
  const blockIo = blockIoOf(objectAt(after, 'blkio_stats'));
  const pids = count(objectAt(after, 'pids_stats')['current']);
  return {
    ...(cpuPercent === undefined ? {} : { cpuPercent }),
    ...(memory === undefined ? {} : { memory }),
    ...(network === undefined ? {} : { network }),
    ...(blockIo === undefined ? {} : { blockIo }),
    ...(pids === undefined ? {} : { pids }),
  };
}

function cpuOf(before: DockerObject, after: DockerObject): number | undefined {
  const [earlier, now] = [objectAt(before, 'cpu_stats'), objectAt(after, 'cpu_stats')];
  const used = risen(objectAt(earlier, 'cpu_usage')['total_usage'], objectAt(now, 'cpu_usage')['total_usage']);
  const system = risen(earlier['system_cpu_usage'], now['system_cpu_usage']);
  if (used === undefined || system === undefined || system === 0) return undefined;
  return Math.round((used / system) * (count(now['online_cpus']) ?? 1) * 10_000) / 100;
}

function memoryOf(stats: DockerObject): Figures['memory'] {
  const [usage, limitBytes] = [count(stats['usage']), count(stats['limit'])];
  if (usage === undefined || limitBytes === undefined) return undefined;
  const inside = objectAt(stats, 'stats');
  // cgroup v1 names it total_inactive_file, v2 inactive_file.
  const cache = count(inside['total_inactive_file']) ?? count(inside['inactive_file']) ?? 0;
  return { usedBytes: cache < usage ? usage - cache : usage, limitBytes };
}

/** Undefined for a container without a network of its own. */
function networkOf(networks: DockerObject): Figures['network'] {
  const all = Object.keys(networks).map((name) => objectAt(networks, name));
  if (all.length === 0) return undefined;
  const sumOf = (field: string) => sum(all.map((one) => one[field]));
  return { receivedBytes: sumOf('rx_bytes'), sentBytes: sumOf('tx_bytes') };
}

function blockIoOf(stats: DockerObject): Figures['blockIo'] {
  const entries = stats['io_service_bytes_recursive'];
  if (!Array.isArray(entries)) return undefined;
  const all = entries.map(asObjectOrNothing);
  // The kinds are written with a capital by one sort of cgroups, and without by the other.
  const is = (entry: DockerObject, op: string) => typeof entry['op'] === 'string' && entry['op'].toLowerCase() === op;
  const sumOf = (op: string) => sum(all.filter((entry) => is(entry, op)).map((entry) => entry['value']));
  return { readBytes: sumOf('read'), writtenBytes: sumOf('write') };
}

/** The sum of counters, which stays at the largest that the wire takes. */
function sum(values: readonly unknown[]): number {
  return values.reduce<number>((total, value) => Math.min(total + (count(value) ?? 0), Number.MAX_SAFE_INTEGER), 0);
}

function risen(before: unknown, after: unknown): number | undefined {
  const [earlier, now] = [count(before), count(after)];
  return earlier === undefined || now === undefined || now < earlier ? undefined : now - earlier;
}

function objectAt(value: DockerObject, key: string): DockerObject {
  return Object.hasOwn(value, key) ? asObjectOrNothing(value[key]) : {};
}

function asObjectOrNothing(value: unknown): DockerObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as DockerObject) : {};
}

/** Counters in ns exceed what doubles count exactly after 104 days of one core; the difference is still good enough. */
function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
    ? Math.min(Math.round(value), Number.MAX_SAFE_INTEGER)
    : undefined;
}
