/** Reports when a host's session is taken over by another process: a restart, or one certificate on two machines. */
import type { Logger } from 'pino';
import type { Audit } from '../audit/audit.ts';
import type { HostLink } from './host-link.ts';
import type { HostRegistry } from './registry.ts';

export interface ReplacementDeps {
  readonly registry: HostRegistry;
  readonly audit: Audit;
  readonly log: Logger;
}

/** @returns a function that stops the reports */
export function reportReplacements({ registry, audit, log }: ReplacementDeps): () => void {
  return registry.subscribe({
    replaced: (older, newer) => {
      if (older.instanceId === newer.instanceId) return;
      const detail = { older: facts(older), newer: facts(newer) };
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
