/** Reports when a host's session is taken over by another process: a restart, or one certificate on two machines. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { Budget } from '../../shared/mux/budget.ts';
import type { Audit } from '../audit/audit.ts';
import { keepRecent } from '../keep-recent.ts';
import type { HostLink } from './host-link.ts';
import type { HostRegistry } from './registry.ts';

/** Reports of one host: enough for each that means something, too few to fill a disk. */
const REPORTS_PER_SECOND = 1 / 60;
const REPORT_BURST = 5;
/** Hosts whose reports are counted. */
const MAX_HOSTS = 20_000;

export interface ReplacementDeps {
  readonly clock: Clock;
  readonly registry: HostRegistry;
  readonly audit: Audit;
  readonly log: Logger;
}

/** @returns a function that stops the reports */
export function reportReplacements({ registry, audit, clock, log }: ReplacementDeps): () => void {
  /** Of the hosts whose session was taken over last. */
  const seen = new Map<string, { budget: Budget; unreported: number }>();
  return registry.subscribe({
    replaced: (older, newer) => {
      if (older.instanceId === newer.instanceId) return;
      const now = clock.monotonic();
      const reports = seen.get(newer.hostId) ?? {
        budget: new Budget(REPORTS_PER_SECOND, REPORT_BURST, now),
        unreported: 0,
      };
      keepRecent(seen, newer.hostId, reports, MAX_HOSTS);
      if (!reports.budget.take(now)) {
        reports.unreported += 1;
        return;
      }
      const detail = { older: facts(older), newer: facts(newer), unreportedBefore: reports.unreported };
      reports.unreported = 0;
      log.warn({ hostId: newer.hostId, ...detail }, 'another agent process took over a session that was still alive');
      void audit.recordOrLog({
        actor: `host:${newer.hostId}`,
        action: 'session.replace',
        target: newer.hostId,
        result: 'ok',
        detail,
      });
    },
  });
}

function facts(link: HostLink): { instanceId: string; hostname: string } {
  return { instanceId: link.instanceId, hostname: link.describe().hostname };
}
