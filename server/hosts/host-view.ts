/** A host and a certificate as the rest of the server sees them: what is stored, joined with what a live link knows. */
import type { DockerState, HostPolicy } from '../../shared/messages/control.ts';
import type { UpgradeAbility } from '../../shared/messages/release.ts';
import type { CertificateRow } from '../store/certificates.ts';
import type { HostRow } from '../store/hosts.ts';
import type { HostUpgrade } from '../upgrades/host-upgrades.ts';
import type { HostLink, LinkTraffic } from './host-link.ts';

/** `pending`: enrolled and never seen yet. */
export type HostState = 'online' | 'offline' | 'pending' | 'revoked';

/** Times are ms since 1970. What only a live link knows is absent while there is none. */
export interface HostView extends Omit<HostRow, 'lastSeenAt' | 'quarantinedAt' | 'quarantineReason'> {
  readonly state: HostState;
  readonly lastSeenAt: number | undefined;
  readonly connectedAt: number | undefined;
  readonly docker: DockerState;
  readonly capabilities: readonly string[];
  readonly policy: HostPolicy | undefined;
  readonly certificate: { readonly serial: string; readonly notAfter: number } | undefined;
  /** Set while the host is kept out because its identity is in use twice. */
  readonly quarantine: { readonly at: number; readonly reason: string } | undefined;
  /** Whether its agent can replace itself, as that says. */
  readonly upgradeAbility: UpgradeAbility | undefined;
  /** The release that it is wished to run, or was last. */
  readonly lastUpgrade?: HostUpgrade | undefined;
}

/** A host with what its link has measured, which only a look at that one host is worth. */
export interface HostDetail extends HostView {
  readonly traffic: LinkTraffic | undefined;
}

export interface CertificateView extends CertificateRow {
  /** Absent for a host that was removed. */
  readonly hostName: string | undefined;
}

export function hostView(host: HostRow, link: HostLink | undefined, certificate: CertificateRow | undefined): HostView {
  const live = link?.describe();
  const { quarantinedAt, quarantineReason, ...row } = host;
  return {
    ...row,
    ...(live && { os: live.os, arch: live.arch, hostname: live.hostname, agentVersion: live.agentVersion }),
    state: hostState(host, live !== undefined),
    lastSeenAt: live?.lastSeenAt ?? host.lastSeenAt,
    connectedAt: live?.connectedAt,
    docker: live?.docker ?? { reachable: false, reason: 'the host is not connected' },
    capabilities: live?.capabilities ?? [],
    policy: live?.policy,
    upgradeAbility: live?.upgrade,
    certificate: certificate && { serial: certificate.serial, notAfter: certificate.notAfter },
    quarantine: quarantinedAt === undefined ? undefined : { at: quarantinedAt, reason: quarantineReason ?? '' },
  };
}

function hostState(host: HostRow, connected: boolean): HostState {
  if (host.revokedAt !== undefined) return 'revoked';
  if (connected) return 'online';
  return host.lastSeenAt === undefined ? 'pending' : 'offline';
}
