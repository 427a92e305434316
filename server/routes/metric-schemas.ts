/** The form in which metrics of hosts leave the API. */
import Type, { type Static, type TProperties } from 'typebox';
import type { HostSample } from '../../shared/messages/metrics.ts';
import type { HostMetricsService, LatestSample, MetricsHistory } from './deps/host-metrics.ts';
import { HostView, Instant } from './schemas.ts';
import { instant } from './views.ts';

const Bytes = Type.Integer({ minimum: 0 });
const Rate = Type.Number({ minimum: 0 });
const Percent = Type.Number({ minimum: 0, maximum: 100 });
/** What a host did not tell is not there: it is never 0 for that. */
const group = <P extends TProperties>(properties: P, description?: string) =>
  Type.Optional(Type.Object(properties, description === undefined ? {} : { description }));

const LOAD = 'Over 1, 5 and 15 minutes';
const DISK = "The disk of Docker's data; availableBytes is what others than root may still write";
const NETWORK = 'Of all network cards; loopback, bridges, containers and tunnels do not count';

/** The last sample of a host. */
export const LatestMetrics = Type.Object({
  time: Type.String({ format: 'date-time', description: "When it came, by the server's clock" }),
  ageSeconds: Rate,
  agentTime: Type.String({ format: 'date-time', description: "The host's own clock then" }),
  uptimeSeconds: Type.Integer({ minimum: 0 }),
  cpu: group(
    {
      percent: Type.Number({ minimum: 0, maximum: 100, description: 'Of all cores together' }),
      user: Type.Optional(Percent),
      system: Type.Optional(Percent),
      iowait: Type.Optional(Percent),
      steal: Type.Optional(Percent),
      cores: Type.Array(Percent, { description: 'Of each core' }),
    },
    'Since the sample before',
  ),
  load: group({ one: Rate, five: Rate, fifteen: Rate }, LOAD),
  memory: group({ totalBytes: Bytes, usedBytes: Bytes, availableBytes: Bytes }),
  swap: group({ totalBytes: Bytes, usedBytes: Bytes }, 'Absent on a host without'),
  disk: group({ totalBytes: Bytes, usedBytes: Bytes, availableBytes: Bytes }, DISK),
  network: group({ receivedBytesPerSecond: Rate, sentBytesPerSecond: Rate }, NETWORK),
});
export type LatestMetrics = Static<typeof LatestMetrics>;

const Figure = Type.Object({ avg: Rate, min: Rate, max: Rate });

export const MetricsPoint = Type.Object({
  time: Type.String({ format: 'date-time', description: 'Where the step begins' }),
  samples: Type.Integer({ minimum: 1 }),
  cpu: group({
    percent: Figure,
    user: Type.Optional(Figure),
    system: Type.Optional(Figure),
    iowait: Type.Optional(Figure),
    steal: Type.Optional(Figure),
    busiestCore: Type.Optional(Figure),
  }),
  load: group({ one: Figure, five: Figure, fifteen: Figure }, LOAD),
  memory: group({ totalBytes: Figure, usedBytes: Figure, availableBytes: Figure }),
  swap: group({ totalBytes: Figure, usedBytes: Figure }),
  disk: group({ totalBytes: Figure, usedBytes: Figure, availableBytes: Figure }, DISK),
  network: group({ receivedBytesPerSecond: Figure, sentBytesPerSecond: Figure }, NETWORK),
  uptime: group({ seconds: Figure }),
});
export type MetricsPoint = Static<typeof MetricsPoint>;

export const MetricsAnswer = Type.Object({
  from: Instant,
  to: Instant,
  step: Type.Integer({
    minimum: 1,
    description: 'In seconds: what was asked for, or the next that is kept of that time',
  }),
  points: Type.Array(MetricsPoint, { description: 'In the order of their times. A step without samples has no point' }),
});
export type MetricsAnswer = Static<typeof MetricsAnswer>;

/** A host in a list, with its last sample. */
export const HostWithMetrics = Type.Object({
  host: Type.String({ description: "The host's name" }),
  hostId: Type.String(),
  state: HostView.properties.state,
  metrics: Type.Union([LatestMetrics, Type.Null()], { description: "null: none since the server's start" }),
});
export type HostWithMetrics = Static<typeof HostWithMetrics>;

/** @param now ms since 1970 */
export function latestView({ sample, receivedAt }: LatestSample, now: number): LatestMetrics {
  const { at, load, ...rest } = sample;
  return {
    time: instant(receivedAt),
    ageSeconds: Math.max(0, Math.round((now - receivedAt) / 100) / 10),
    agentTime: instant(Math.min(at, MAX_TIME_MS)),
    ...rest,
    ...loadView(load),
  };
}

/** The last moment that a date can tell. */
const MAX_TIME_MS = 8.64e15;

function loadView(load: HostSample['load']): Pick<LatestMetrics, 'load'> {
  const [one, five, fifteen] = load ?? [];
  return one === undefined || five === undefined || fifteen === undefined ? {} : { load: { one, five, fifteen } };
}

export function historyView({ from, to, step, points }: MetricsHistory): MetricsAnswer {
  return {
    from: instant(from * 1000),
    to: instant(to * 1000),
    step,
    // The names of groups and figures are those of the schema, which the answer is cut to.
    points: points.map(({ at, samples, groups }) => ({ time: instant(at * 1000), samples, ...groups }) as MetricsPoint),
  };
}

export function withMetrics(
  { id, name, state }: { readonly id: string; readonly name: string; readonly state: HostView['state'] },
  metrics: Pick<HostMetricsService, 'latest'>,
  now: number,
): HostWithMetrics {
  const latest = metrics.latest(id);
  return { host: name, hostId: id, state, metrics: latest === undefined ? null : latestView(latest, now) };
}
