/** The figures that a host's history is made of, each as a whole number, so that sums of them are exact. */
import type { HostSample } from '../../shared/messages/metrics.ts';

/** Whole numbers in the order of SERIES; undefined is what the host did not tell. */
export type Figures = readonly (number | undefined)[];

export interface Series {
  /** The group and the field by which it stands in the API. */
  readonly group: string;
  readonly field: string;
  /** What a figure is multiplied with to become a whole number. */
  readonly scale: number;
  of(sample: HostSample): number | undefined;
}

/** No figure exceeds it, so that the sum of 4,096 of them is still exact. In KiB it is a pebibyte. */
export const MAX_FIGURE = 2 ** 40;

const HUNDREDTHS = 100;
const KIB = 1 / 1024;

/**
 * New ones go to the end, since rows name a series by its place here. Of the cores history has the busiest alone: their
 * figures one by one are in the latest sample.
 */
export const SERIES: readonly Series[] = [
  series('cpu', 'percent', HUNDREDTHS, ({ cpu }) => cpu?.percent),
  series('cpu', 'user', HUNDREDTHS, ({ cpu }) => cpu?.user),
  series('cpu', 'system', HUNDREDTHS, ({ cpu }) => cpu?.system),
  series('cpu', 'iowait', HUNDREDTHS, ({ cpu }) => cpu?.iowait),
  series('cpu', 'steal', HUNDREDTHS, ({ cpu }) => cpu?.steal),
  series('cpu', 'busiestCore', HUNDREDTHS, ({ cpu }) => busiest(cpu?.cores)),
  series('load', 'one', HUNDREDTHS, ({ load }) => load?.[0]),
  series('load', 'five', HUNDREDTHS, ({ load }) => load?.[1]),
  series('load', 'fifteen', HUNDREDTHS, ({ load }) => load?.[2]),
  series('memory', 'totalBytes', KIB, ({ memory }) => memory?.totalBytes),
  series('memory', 'usedBytes', KIB, ({ memory }) => memory?.usedBytes),
  series('memory', 'availableBytes', KIB, ({ memory }) => memory?.availableBytes),
  series('swap', 'totalBytes', KIB, ({ swap }) => swap?.totalBytes),
  series('swap', 'usedBytes', KIB, ({ swap }) => swap?.usedBytes),
  series('disk', 'totalBytes', KIB, ({ disk }) => disk?.totalBytes),
  series('disk', 'usedBytes', KIB, ({ disk }) => disk?.usedBytes),
  series('disk', 'availableBytes', KIB, ({ disk }) => disk?.availableBytes),
  series('network', 'receivedBytesPerSecond', 1, ({ network }) => network?.receivedBytesPerSecond),
  series('network', 'sentBytesPerSecond', 1, ({ network }) => network?.sentBytesPerSecond),
  series('uptime', 'seconds', 1, ({ uptimeSeconds }) => uptimeSeconds),
];

function series(group: string, field: string, scale: number, of: Series['of']): Series {
  return { group, field, scale, of };
}

function busiest(cores: readonly number[] | undefined): number | undefined {
  return cores === undefined || cores.length === 0 ? undefined : cores.reduce((most, core) => Math.max(most, core));
}

/** The figures of a sample. */
export function figuresOf(sample: HostSample): Figures {
  return SERIES.map(({ scale, of }) => {
    const value = of(sample);
    return value === undefined ? undefined : Math.min(MAX_FIGURE, Math.round(value * scale));
  });
}

/** A figure, or an average of some, in the unit of the API. */
export function inUnit({ scale }: Series, figure: number): number {
  const value = figure / scale;
  return scale > 1 ? Math.round(value * scale) / scale : Math.round(value);
}
