/** What the flags about metrics of hosts mean. */
import { durationFlag, parseDuration } from '../shared/duration.ts';
import { FairleadError } from '../shared/errors.ts';
import type { MetricsConfig } from './host-metrics/host-metrics.ts';

const MIN_INTERVAL_MS = 1_000;
const MAX_INTERVAL_MS = 3_600_000;
/** Shorter, samples could go before averages are made of them; longer, no disk has room for them. */
const MIN_KEEP_MS = 3_600_000;
const MAX_KEEP_MS = 3_650 * 24 * 3_600_000;

/** To be part of the flags of the server. */
export const METRICS_FLAGS = {
  metricsInterval: durationFlag({
    description: 'from one sample of what a host uses to the next, from 1s to 1h; 0: none',
    default: '30s',
  }),
  metricsKeepSamples: durationFlag({ description: 'how long these samples are kept, at least 1h', default: '24h' }),
  metricsKeepFine: durationFlag({ description: 'how long their averages of five minutes are kept', default: '30d' }),
  metricsKeepCoarse: durationFlag({ description: 'how long their averages of an hour are kept', default: '365d' }),
};

export interface MetricsFlags {
  readonly metricsInterval: string;
  readonly metricsKeepSamples: string;
  readonly metricsKeepFine: string;
  readonly metricsKeepCoarse: string;
}

/** @throws FairleadError VALIDATION that names the flag */
export function parseMetrics(flags: MetricsFlags): MetricsConfig {
  const intervalMs = parseDuration(flags.metricsInterval) ?? 0;
  if (intervalMs !== 0 && (intervalMs < MIN_INTERVAL_MS || intervalMs > MAX_INTERVAL_MS)) {
    throw new FairleadError(
      'VALIDATION',
      `--metrics-interval ${flags.metricsInterval} is not from 1s to 1h, nor 0 for none`,
    );
  }
  const samples = keepSeconds('--metrics-keep-samples', flags.metricsKeepSamples);
  const fine = keepSeconds('--metrics-keep-fine', flags.metricsKeepFine);
  const coarse = keepSeconds('--metrics-keep-coarse', flags.metricsKeepCoarse);
  if (samples > fine || fine > coarse) {
    throw new FairleadError(
      'VALIDATION',
      '--metrics-keep-samples, --metrics-keep-fine and --metrics-keep-coarse must each be at least as long as the one before',
    );
  }
  return { intervalMs, kept: { samples, fine, coarse } };
}

function keepSeconds(name: string, text: string): number {
  const ms = parseDuration(text) ?? 0;
  if (ms >= MIN_KEEP_MS && ms <= MAX_KEEP_MS) return ms / 1000;
  throw new FairleadError('VALIDATION', `${name} ${text} is not from 1h to 3650d`);
}
