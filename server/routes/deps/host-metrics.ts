/** What the routes need of the metrics of hosts. */
import type { HostSample } from '../../../shared/messages/metrics.ts';

export interface LatestSample {
  readonly sample: HostSample;
  /** By the server's clock, ms since 1970. */
  readonly receivedAt: number;
}

/** A figure over a step. */
export interface Statistic {
  readonly avg: number;
  readonly min: number;
  readonly max: number;
}

/** Times are Unix seconds. A step without samples has no point, a point no figures that its samples did not have. */
export interface MetricsHistory {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly points: readonly {
    readonly at: number;
    readonly samples: number;
    readonly groups: Readonly<Record<string, Readonly<Record<string, Statistic>>>>;
  }[];
}

export interface HostMetricsService {
  /** Undefined until there is one since the server's start. */
  latest(hostId: string): LatestSample | undefined;
  /** Times are Unix seconds, as is the step. @throws FairleadError VALIDATION, or the reason of `signal` */
  history(
    hostId: string,
    asked: { readonly from: number; readonly to: number; readonly step?: number },
    signal: AbortSignal,
  ): Promise<MetricsHistory>;
}
