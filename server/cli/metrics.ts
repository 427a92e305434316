/** What hosts and containers use, as tables show it. */
import type { ContainerUseView, HostWithMetrics, MetricsPoint } from './api-types.ts';
import { bitRate, bytes, duration, shortId } from './format.ts';
import type { Column } from './table.ts';

type Latest = NonNullable<HostWithMetrics['metrics']>;
type Figure = { avg: number; max: number };

const percent = (value: number) => `${value.toFixed(1)} %`;
const load = (value: number) => value.toFixed(2);

/** A cell of the last sample; nothing where there is none. */
function latest(cell: (metrics: Latest) => string | undefined) {
  return ({ metrics }: HostWithMetrics) => (metrics === null ? undefined : cell(metrics));
}

function used({ usedBytes, totalBytes }: { usedBytes: number; totalBytes: number }): string {
  const share = totalBytes === 0 ? 0 : Math.round((usedBytes / totalBytes) * 100);
  return `${bytes(usedBytes)} of ${bytes(totalBytes)} (${share} %)`;
}

export const HOST_USE_COLUMNS: readonly Column<HostWithMetrics>[] = [
  ['HOST', ({ host }) => host],
  ['STATE', ({ state }) => state],
  ['CPU', latest(({ cpu }) => cpu && percent(cpu.percent))],
  ['CORES', ({ metrics }) => metrics?.cpu?.cores.length],
  ['LOAD', latest((metrics) => metrics.load && load(metrics.load.one))],
  ['MEMORY', latest(({ memory }) => memory && used(memory))],
  ['SWAP', latest(({ swap }) => swap && used(swap))],
  ['DOCKER DISK', latest(({ disk }) => disk && used(disk))],
  ['RECEIVED', latest(({ network }) => network && bitRate(network.receivedBytesPerSecond))],
  ['SENT', latest(({ network }) => network && bitRate(network.sentBytesPerSecond))],
  ['UP', latest(({ uptimeSeconds }) => duration(uptimeSeconds * 1000))],
  ['AGE', latest(({ ageSeconds }) => duration(ageSeconds * 1000))],
];

/** A line of a history; one without figures stands for a gap. */
export type HistoryLine = Pick<MetricsPoint, 'time'> & Partial<MetricsPoint>;

/** The points, and a line where some are missing between two of them. @param step in seconds */
export function withGaps(points: readonly MetricsPoint[], step: number): HistoryLine[] {
  return points.flatMap((point, index) => {
    const before = points[index - 1];
    if (before === undefined) return [point];
    const expected = Date.parse(before.time) + step * 1000;
    return expected < Date.parse(point.time) ? [{ time: new Date(expected).toISOString() }, point] : [point];
  });
}

/** Average and most. */
function figure(value: Figure | undefined, text: (value: number) => string): string | undefined {
  return value && `${text(value.avg)} / ${text(value.max)}`;
}

export const HISTORY_COLUMNS: readonly Column<HistoryLine>[] = [
  ['TIME', ({ time }) => time.replace('.000Z', 'Z')],
  ['CPU', ({ cpu }) => figure(cpu?.percent, percent)],
  ['LOAD', (point) => figure(point.load?.one, load)],
  ['MEMORY', ({ memory }) => figure(memory?.usedBytes, bytes)],
  ['SWAP', ({ swap }) => figure(swap?.usedBytes, bytes)],
  ['DOCKER DISK', ({ disk }) => figure(disk?.usedBytes, bytes)],
  ['RECEIVED', ({ network }) => figure(network?.receivedBytesPerSecond, bitRate)],
  ['SENT', ({ network }) => figure(network?.sentBytesPerSecond, bitRate)],
  ['SAMPLES', ({ samples }) => samples ?? 'no samples'],
];

export const CONTAINER_USE_COLUMNS: readonly Column<ContainerUseView>[] = [
  ['CONTAINER', ({ id }) => shortId(id)],
  ['NAME', ({ name }) => name],
  ['CPU', ({ cpuPercent }) => (cpuPercent === undefined ? undefined : percent(cpuPercent))],
  ['MEMORY', ({ memory }) => memory && used({ usedBytes: memory.usedBytes, totalBytes: memory.limitBytes })],
  ['NETWORK IN', ({ network }) => network && bytes(network.receivedBytes)],
  ['NETWORK OUT', ({ network }) => network && bytes(network.sentBytes)],
  ['READ', ({ blockIo }) => blockIo && bytes(blockIo.readBytes)],
  ['WRITTEN', ({ blockIo }) => blockIo && bytes(blockIo.writtenBytes)],
  ['PIDS', ({ pids }) => pids],
];
