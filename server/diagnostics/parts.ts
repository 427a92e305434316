/** What the diagnostics look at. */
import type { Clock } from '../../shared/clock.ts';
import type { AuditTrail } from '../audit/audit-trail.ts';
import type { Authority } from '../authority/authority.ts';
import type { ServerConfig } from '../config.ts';
import type { Webhooks } from '../events/webhooks.ts';
import type { HostView } from '../hosts/host-view.ts';
import type { Hosts } from '../hosts/hosts.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { Releases } from '../releases/releases.ts';
import type { Recovery } from '../renewal/recovery.ts';
import type { AgentFilesService } from '../routes/deps/agent-files.ts';
import type { Store } from '../store/store.ts';

export interface DiagnosticParts {
  readonly config: ServerConfig;
  readonly clock: Pick<Clock, 'now'>;
  readonly store: Store;
  readonly authority: Pick<
    Authority,
    'installationId' | 'ca' | 'phase' | 'trust' | 'warnings' | 'serverTls' | 'caFingerprint'
  >;
  readonly auditTrail: Pick<AuditTrail, 'isIntact' | 'signedAt' | 'queuedRows' | 'forwarders'>;
  readonly registry: Pick<HostRegistry, 'link' | 'size'>;
  readonly hosts: Pick<Hosts, 'list'>;
  readonly recovery: Pick<Recovery, 'list'>;
  readonly webhooks: Pick<Webhooks, 'list'>;
  readonly agentFiles: AgentFilesService;
  readonly releases: Pick<Releases, 'list'>;
  /** What the streams of all agents may take together, and take. */
  readonly memory: { readonly usedBytes: number; readonly totalBytes: number };
  readonly urls: () => { readonly apiUrl: string; readonly agentUrl: string };
  /** ms since 1970. */
  readonly startedAt: number;
}

/** A host and what its link says. */
export interface SeenHost extends HostView {
  /** How far its clock is ahead of the server's, in ms, as of its last heartbeat. */
  readonly clockSkewMs: number | undefined;
}
