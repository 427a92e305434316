/** Series of single hosts for Prometheus: of a bounded number of them, and made in slices, so that a scrape holds up nobody. */
import { setImmediate } from 'node:timers/promises';
import type { LinkFigures } from '../shared/messages/link.ts';
import type { LinkTraffic } from './hosts/host-link.ts';
import { type CurrentSample, METRIC_SERIES } from './metric-series.ts';
import type { Hosts as HostRows } from './store/hosts.ts';

/** Hosts that have series of their own: the first by name, whether online or not, so that the set does not waver. */
export const MAX_SERIES_HOSTS = 1000;
/** Hosts whose lines are made in one turn. */
const SLICE_HOSTS = 50;

export interface HostSeriesSources {
  readonly registry: { link(hostId: string): { traffic(): LinkTraffic | undefined } | undefined };
  readonly store: { readonly hosts: Pick<HostRows, 'list'> };
  /** What a host uses, if that is known as of now; absent: of no host. */
  readonly current?: (hostId: string) => CurrentSample | undefined;
}

interface Series<F> {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  /** More labels, each with its value; what is not known has no sample. */
  samples(figures: F): readonly (readonly [labels: string, value: number | undefined])[];
}

/** In µs steps, so that no binary fraction trails. */
const seconds = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms * 1000) / 1_000_000);

const SERIES: readonly Series<LinkFigures>[] = [
  {
    name: 'fairlead_session_round_trip_seconds',
    type: 'gauge',
    help: 'The smallest round trip of late (idle), and the one with what waits on the way (now)',
    samples: ({ roundTripIdleMs, roundTripMs }) => [
      [',kind="idle"', seconds(roundTripIdleMs)],
      [',kind="now"', seconds(roundTripMs)],
    ],
  },
  {
    name: 'fairlead_session_delivery_bytes_per_second',
    type: 'gauge',
    help: 'How fast bytes arrived when there was last more to send than the link took',
    samples: ({ deliveryBytesPerSecond }) => [['', deliveryBytesPerSecond]],
  },
  {
    name: 'fairlead_session_in_flight_bytes',
    type: 'gauge',
    help: 'Bytes sent and not acknowledged',
    samples: ({ inFlightBytes }) => [['', inFlightBytes]],
  },
  {
    name: 'fairlead_session_in_flight_limit_bytes',
    type: 'gauge',
    help: 'How many bytes may be in flight',
    samples: ({ inFlightLimitBytes }) => [['', inFlightLimitBytes]],
  },
  {
    name: 'fairlead_session_queued_bytes',
    type: 'gauge',
    help: 'Bytes that wait to be sent, by scheduling class',
    samples: ({ queuedBytes: { control, interactive, bulk } }) => [
      [',class="control"', control],
      [',class="interactive"', interactive],
      [',class="bulk"', bulk],
    ],
  },
  {
    name: 'fairlead_session_credit_starved_seconds_total',
    type: 'counter',
    help: 'Time in which streams waited for credit, summed over the streams of the session',
    samples: ({ creditStarvedMs }) => [['', seconds(creditStarvedMs)]],
  },
  {
    name: 'fairlead_session_socket_blocked_seconds_total',
    type: 'counter',
    help: 'Time in which the socket of the session took no more',
    samples: ({ socketBlockedMs }) => [['', seconds(socketBlockedMs)]],
  },
];

/** @returns the lines of all series, and of how many hosts' sessions they are */
export async function hostSeries(sources: HostSeriesSources): Promise<{ text: string; hosts: number }> {
  const ofLinks = SERIES.map(headOf);
  const ofSamples = METRIC_SERIES.map(headOf);
  let seen = 0;
  let hosts = 0;
  let cursor: string | undefined;
  do {
    const page = await sources.store.hosts.list({ limit: SLICE_HOSTS, cursor });
    for (const { id, name } of page.items) {
      const link = sources.registry.link(id);
      if (link === undefined) continue;
      const traffic = link.traffic();
      const current = sources.current?.(id);
      if (traffic === undefined && current === undefined) continue;
      const host = `host="${escaped(name)}"`;
      if (traffic !== undefined) {
        hosts += 1;
        for (const [i, series] of SERIES.entries()) ofLinks[i]?.push(linesOf(series, host, traffic));
      }
      if (current === undefined) continue;
      for (const [i, series] of METRIC_SERIES.entries()) ofSamples[i]?.push(samplesOf(series, host, current));
    }
    seen += page.items.length;
    cursor = page.nextCursor;
    await setImmediate();
  } while (cursor !== undefined && seen < MAX_SERIES_HOSTS);
  return { text: [...ofLinks, ...ofSamples].flat().join(''), hosts };
}

function headOf({ name, type, help }: Pick<Series<never>, 'name' | 'type' | 'help'>): string[] {
  return [`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`];
}

function linesOf(series: Series<LinkFigures>, host: string, { toAgent, fromAgent }: LinkTraffic): string {
  const out = samplesOf(series, `${host},direction="out"`, toAgent);
  return fromAgent === undefined ? out : out + samplesOf(series, `${host},direction="in"`, fromAgent);
}

function samplesOf<F>({ name, samples }: Series<F>, labels: string, figures: F): string {
  let text = '';
  for (const [more, value] of samples(figures)) if (value !== undefined) text += `${name}{${labels}${more}} ${value}\n`;
  return text;
}

/** A label's value as the text format takes it. */
function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (char) => (char === '\n' ? '\\n' : `\\${char}`));
}
