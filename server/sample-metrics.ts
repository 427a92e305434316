/** What Prometheus learns of the samples of all hosts together. */
import { Counter, type Registry } from 'prom-client';
import type { HostMetrics } from './host-metrics/host-metrics.ts';

export function sampleMetrics(registry: Registry, { recorder }: Pick<HostMetrics, 'recorder'>): void {
  const counter = (name: string, help: string, value: () => number) =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  counter('fairlead_host_samples_total', 'Samples of what hosts use that were taken in', () => recorder.counts.taken);
  counter(
    'fairlead_host_samples_lost_total',
    'Samples that were dropped since the store could not be written',
    () => recorder.counts.lost,
  );
}
