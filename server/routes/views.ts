/** Rows of the services in the form in which they leave the API: times as RFC 3339, nothing as null, no field too many. */
import type { LinkFigures } from '../../shared/messages/link.ts';
import type { HostScope } from '../access/scope.ts';
import type { LinkTraffic } from '../hosts/host-link.ts';
import type { ApiTokenRecord, MadeToken, OperatorCertificateRecord, SessionRecord, UserRecord } from './deps/access.ts';
import type { AuditRecord } from './deps/audit.ts';
import type { EnrollmentTokenRecord, RecoveryRecord } from './deps/enrollment.ts';
import type { CertificateRecord, HostRecord } from './deps/hosts.ts';
import type { Maybe, Page, Paged, Time } from './deps/rows.ts';
import type { WebhookRecord } from './deps/webhooks.ts';
import type { LinkDirection, LinkView } from './link-schemas.ts';
import {
  type ApiTokenView,
  type AuditRow,
  type CertificateView,
  DEFAULT_PAGE_ITEMS,
  type EnrollmentTokenView,
  type HostDetail,
  type HostUpgradeView,
  type HostView,
  type OperatorCertificateView,
  type RecoveryView,
  type ScopeView,
  type SessionView,
  type UserView,
  type WebhookView,
} from './schemas.ts';

/** A time as RFC 3339. */
export function instant(time: Time): string {
  return new Date(time).toISOString();
}

export function instantOrNull(time: Time | null | undefined): string | null {
  return time === null || time === undefined ? null : instant(time);
}

/** What a list's query asks of a service. */
export function pageRequest(query: { limit?: number; cursor?: string }): Page {
  const limit = query.limit ?? DEFAULT_PAGE_ITEMS;
  return query.cursor === undefined ? { limit } : { limit, cursor: query.cursor };
}

/** A page of rows as a page of views. */
export function pageView<R, V>(page: Paged<R>, view: (row: R) => V): { items: V[]; nextCursor: string | null } {
  return { items: page.items.map(view), nextCursor: page.nextCursor ?? null };
}

export function hostView(host: HostRecord): HostView {
  return {
    id: host.id,
    name: host.name,
    kind: host.kind,
    state: host.state,
    hostname: host.hostname ?? null,
    os: host.os ?? null,
    arch: host.arch ?? null,
    agentVersion: host.agentVersion ?? null,
    tags: [...host.tags],
    docker: host.docker ?? null,
    capabilities: [...(host.capabilities ?? [])],
    policy: host.policy ?? null,
    createdAt: instant(host.createdAt),
    connectedAt: instantOrNull(host.connectedAt),
    lastSeenAt: instantOrNull(host.lastSeenAt),
    certificate: host.certificate
      ? { serial: host.certificate.serial, notAfter: instant(host.certificate.notAfter) }
      : null,
    revokedAt: instantOrNull(host.revokedAt),
    revokeReason: host.revokeReason ?? null,
    quarantine: host.quarantine ? { at: instant(host.quarantine.at), reason: host.quarantine.reason } : null,
    upgrade: host.kind === 'native' ? hostUpgradeView(host) : null,
  };
}

export function hostUpgradeView({ state, upgradeAbility, lastUpgrade: last }: HostRecord): HostUpgradeView {
  const isAble = upgradeAbility?.able ?? (state === 'online' ? false : null);
  const why = upgradeAbility?.reason ?? (upgradeAbility ? null : 'the agent is too old to replace itself');
  return {
    able: isAble,
    reason: isAble === false ? why : null,
    wished: last ? { version: last.to, sequence: last.sequence } : null,
    from: last?.from ?? null,
    state: last?.state ?? null,
    error: last?.code ? { code: last.code, detail: last.detail ?? '' } : null,
    receivedBytes: last?.receivedBytes ?? null,
    totalBytes: last?.totalBytes ?? null,
    rollout: last?.rolloutId ?? null,
    wishedAt: instantOrNull(last?.createdAt),
    changedAt: instantOrNull(last?.changedAt),
    endedAt: instantOrNull(last?.endedAt),
  };
}

export function hostDetail(host: HostRecord): HostDetail {
  return { ...hostView(host), link: host.traffic ? linkView(host.traffic) : null };
}

function linkView({ toAgent, fromAgent, ...traffic }: LinkTraffic): LinkView {
  const claimed = fromAgent === undefined ? null : linkDirection(fromAgent);
  return { ...traffic, toAgent: linkDirection(toAgent), fromAgent: claimed };
}

function linkDirection(figures: LinkFigures): LinkDirection {
  const { control, interactive, bulk } = figures.queuedBytes;
  return {
    roundTripIdleMs: figures.roundTripIdleMs ?? null,
    roundTripMs: figures.roundTripMs ?? null,
    deliveryBytesPerSecond: figures.deliveryBytesPerSecond ?? null,
    inFlightBytes: figures.inFlightBytes,
    inFlightLimitBytes: figures.inFlightLimitBytes ?? null,
    queuedBytes: { control, interactive, bulk },
    creditStarvedMs: figures.creditStarvedMs,
    socketBlockedMs: figures.socketBlockedMs,
  };
}

export function certificateView(row: CertificateRecord): CertificateView {
  return {
    serial: row.serial,
    hostId: row.hostId,
    hostName: row.hostName ?? null,
    state: row.state,
    spkiPin: row.spkiPin,
    notBefore: instant(row.notBefore),
    notAfter: instant(row.notAfter),
    issuedAt: instant(row.issuedAt),
    revokedAt: instantOrNull(row.revokedAt),
    reason: row.reason ?? null,
  };
}

export function enrollmentTokenView(row: EnrollmentTokenRecord): EnrollmentTokenView {
  return {
    id: row.id,
    name: row.name ?? null,
    state: row.state,
    hostName: row.hostName ?? null,
    tags: [...row.tags],
    createdBy: row.createdBy ?? null,
    createdAt: instant(row.createdAt),
    expiresAt: instant(row.expiresAt),
    usedAt: instantOrNull(row.usedAt),
    revokedAt: instantOrNull(row.revokedAt),
    hostId: row.hostId ?? null,
    adopts: row.adopts ?? null,
  };
}

/** @param names those of hosts, by id */
export function scopeView(scope: HostScope | null | undefined, names: ReadonlyMap<string, string>): ScopeView {
  if (scope === null || scope === undefined) return null;
  return { hosts: scope.hosts.map((id) => ({ id, name: names.get(id) ?? null })), tags: [...scope.tags] };
}

/** A token that was just made; this once with its secret. */
export function madeTokenView(
  { id, token, name, role, scope, expiresAt }: MadeToken,
  names: ReadonlyMap<string, string>,
) {
  return { id, token, name, role, scope: scopeView(scope, names), expiresAt: instantOrNull(expiresAt) };
}

export function apiTokenView(row: ApiTokenRecord, names: ReadonlyMap<string, string>): ApiTokenView {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    scope: scopeView(row.scope, names),
    createdBy: row.createdBy ?? null,
    createdAt: instant(row.createdAt),
    expiresAt: instantOrNull(row.expiresAt),
    lastUsedAt: instantOrNull(row.lastUsedAt),
    lastUsedAddress: row.lastUsedAddress ?? null,
    revokedAt: instantOrNull(row.revokedAt),
    replacedBy: row.replacedBy ?? null,
  };
}

export function auditView(row: AuditRecord): AuditRow {
  return {
    id: row.id,
    at: instant(row.at),
    actor: row.actor,
    address: row.address ?? null,
    action: row.action,
    target: row.target ?? null,
    result: row.result,
    detail: row.detail ? { ...row.detail } : null,
    hash: row.hash ?? null,
  };
}

export function operatorCertificateView(row: OperatorCertificateRecord, now: number): OperatorCertificateView {
  const isRevoked = row.revokedAt !== null && row.revokedAt !== undefined;
  const isExpired = new Date(row.notAfter).getTime() <= now;
  return {
    serial: row.serial,
    id: row.operatorId,
    name: row.name,
    role: row.role,
    state: isRevoked ? 'revoked' : isExpired ? 'expired' : 'active',
    hosts: [...row.hosts],
    tags: [...row.tags],
    createdBy: row.createdBy,
    createdAt: instant(row.createdAt),
    notAfter: instant(row.notAfter),
    lastUsedAt: instantOrNull(row.lastUsedAt),
    revokedAt: instantOrNull(row.revokedAt),
  };
}

export function userView(row: UserRecord): UserView {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    hosts: [...row.hosts],
    tags: [...row.tags],
    createdBy: row.createdBy,
    createdAt: instant(row.createdAt),
    passwordChangedAt: instant(row.passwordChangedAt),
    lastLoginAt: instantOrNull(row.lastLoginAt),
  };
}

export function sessionView({ user, role, hosts, tags, csrfToken, expiresAt }: SessionRecord): SessionView {
  return { user, role, hosts: [...hosts], tags: [...tags], csrfToken, expiresAt: instant(expiresAt) };
}

export function recoveryView(row: RecoveryRecord): RecoveryView {
  return {
    id: row.id,
    hostId: row.hostId,
    hostName: row.hostName ?? null,
    state: row.state,
    serial: row.serial,
    why: row.why,
    spkiPin: row.spkiPin,
    address: row.address,
    requestedAt: instant(row.requestedAt),
    expiresAt: instant(row.expiresAt),
    decidedBy: row.decidedBy ?? null,
    decidedAt: instantOrNull(row.decidedAt),
  };
}

export function webhookView(row: WebhookRecord): WebhookView {
  const list = (values: Maybe<readonly string[]>) => (values ? [...values] : null);
  return {
    id: row.id,
    name: row.name ?? null,
    url: row.url,
    types: list(row.types),
    hosts: list(row.hosts),
    tags: list(row.tags),
    state: row.state,
    createdBy: row.createdBy,
    createdAt: instant(row.createdAt),
    deliveredAt: instantOrNull(row.deliveredAt),
    failingSince: instantOrNull(row.failingSince),
    failures: row.failures,
    error: row.error ?? null,
    behind: row.behind,
  };
}
