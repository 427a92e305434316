/** What Prometheus learns of the audit log. */
import { Gauge, type Registry } from 'prom-client';
import type { AuditTrail } from './audit/audit-trail.ts';

export function auditMetrics(registry: Registry, trail: AuditTrail): void {
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  gauge('fairlead_audit_queued_rows', 'Rows of the audit log that wait to be written', () => trail.queuedRows);
  gauge('fairlead_audit_intact', '1, or 0 once a change of what was signed was found', () => Number(trail.isIntact));
  gauge('fairlead_audit_signed_seconds', 'When the audit log was signed last, in Unix time', () =>
    Math.floor((trail.signedAt ?? 0) / 1000),
  );
  forwarderMetrics(registry, trail);
}

function forwarderMetrics(registry: Registry, { forwarders }: Pick<AuditTrail, 'forwarders'>): void {
  if (forwarders.length === 0) return;
  const ages = ofReceiver(
    registry,
    'fairlead_audit_forward_lag_seconds',
    'Age of the first row a receiver has not got',
  );
  new Gauge({
    name: 'fairlead_audit_forward_lag_rows',
    help: 'Rows that a receiver has not got yet',
    labelNames: ['receiver'],
    registers: [registry],
    async collect() {
      for (const forwarder of forwarders) {
        const { rows, ms } = await forwarder.lag();
        this.set({ receiver: forwarder.name }, rows);
        ages.set({ receiver: forwarder.name }, ms / 1000);
      }
    },
  });
  for (const [name, help, value] of [
    ['fairlead_audit_forward_failures', 'Deliveries that failed since the start', 'failures'],
    ['fairlead_audit_forward_lost_rows', 'Rows dropped by age before a receiver had them, since the start', 'lostRows'],
  ] as const) {
    new Gauge({
      name,
      help,
      labelNames: ['receiver'],
      registers: [registry],
      collect() {
        for (const forwarder of forwarders) this.set({ receiver: forwarder.name }, forwarder[value]);
      },
    });
  }
}

function ofReceiver(registry: Registry, name: string, help: string): Gauge<'receiver'> {
  return new Gauge({ name, help, labelNames: ['receiver'], registers: [registry] });
}
