/** What the rest of the server does with hosts: look them up, reach them, change them, revoke them. */
import { normalizeSerial } from '../../certs/serial.ts';
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError } from '../../shared/errors.ts';
import { MAX_TAGS } from '../../shared/limits.ts';
import { type HostScope, includesHost } from '../access/scope.ts';
import type { Actor, Audit, AuditEntry } from '../audit/audit.ts';
import type { CertificateFilter, CertificateRow } from '../store/certificates.ts';
import { type HostRow, hostNotFound } from '../store/hosts.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import type { HostUpgrade } from '../upgrades/host-upgrades.ts';
import { type BulkResult, type BulkRevocation, revokeMany } from './bulk-revocation.ts';
import { filteredPage, type HostFilter } from './host-filter.ts';
import type { HostLink } from './host-link.ts';
import { type CertificateView, type HostDetail, type HostView, hostView } from './host-view.ts';
import type { HostRegistry } from './registry.ts';
import { HostReturns } from './returns.ts';

/** What may be changed of a host. Tags are replaced, or some added and some taken away. */
export interface HostChange {
  readonly name?: string;
  readonly tags?: string[];
  readonly addTags?: readonly string[];
  readonly removeTags?: readonly string[];
}

export interface HostsDeps {
  readonly store: Store;
  readonly registry: HostRegistry;
  readonly clock: Clock;
  readonly audit: Audit;
  /** Which release a host is wished to run, or was last; absent: that is not known. */
  upgradeOf?(hostId: string): Promise<HostUpgrade | undefined>;
  /** Takes serials off the allow-list. Synchronous: from here on they open no session. */
  forget(serials: readonly string[]): void;
  /** Ends what a host, or one of its certificates, holds open. */
  disconnect(target: { hostId: string; serial?: string }, code: ErrorCode, reason: string): void;
}

export class Hosts {
  readonly #deps: HostsDeps;
  readonly #scopeListeners = new Set<(hostId: string, tags: readonly string[] | undefined) => void>();
  readonly #returns: HostReturns;

  constructor(deps: HostsDeps) {
    this.#returns = new HostReturns(deps.registry);
    const disconnect: HostsDeps['disconnect'] = (target, ...why) => {
      deps.disconnect(target, ...why);
      this.#returns.wake(target.hostId);
    };
    this.#deps = { ...deps, disconnect };
  }

  /** In the order of their names; those in `scope` only, if there is one, and of them those that fit `filter`. */
  async list(page: PageRequest, scope?: HostScope, filter?: HostFilter): Promise<Page<HostView>> {
    if (filter !== undefined) return await filteredPage((part) => this.list(part, scope), page, filter);
    const { items, ...rest } = await this.#deps.store.hosts.list(page, scope);
    return { items: await Promise.all(items.map((host) => this.#view(host))), ...rest };
  }

  /** By id or name. @throws FairleadError HOST_NOT_FOUND */
  async get(ref: string): Promise<HostDetail> {
    const view = await this.#view(await this.#deps.store.hosts.get(ref));
    const link = view.state === 'online' ? this.#deps.registry.link(view.id) : undefined;
    return { ...view, traffic: link?.traffic() };
  }

  /** The id of a host in `scope`. @throws FairleadError HOST_NOT_FOUND, the same for a host outside of it as for none */
  async idInScope(ref: string, scope: HostScope): Promise<string> {
    const host = await this.#deps.store.hosts.find(ref);
    if (host === undefined || !includesHost(scope, host)) throw hostNotFound(ref);
    return host.id;
  }

  /** The names of those hosts that are there, by id. */
  async names(ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
    return await this.#deps.store.hosts.names(ids);
  }

  /** Calls `listener` when a host gets other tags or another name, or is removed and has none. @returns a function that stops it. */
  onScopeChange(listener: (hostId: string, tags: readonly string[] | undefined) => void): () => void {
    this.#scopeListeners.add(listener);
    return () => this.#scopeListeners.delete(listener);
  }

  /** The host's live link. @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE */
  async link(ref: string): Promise<HostLink> {
    const host = await this.#deps.store.hosts.get(ref);
    const link = this.#deps.registry.link(host.id);
    if (link !== undefined && host.revokedAt === undefined) return link;
    throw new FairleadError('HOST_OFFLINE', `the host ${host.name} ${absence(host)}`);
  }

  /**
   * The host's link, as soon as there is one.
   * @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE at once when it is revoked; the signal's reason
   */
  async linkOnReturn(ref: string, signal: AbortSignal): Promise<HostLink> {
    const { id } = await this.#deps.store.hosts.get(ref);
    const look = async () => {
      const { revokedAt } = await this.#deps.store.hosts.get(id);
      const isAway = this.#deps.registry.link(id) === undefined && revokedAt === undefined;
      return isAway ? undefined : await this.link(id);
    };
    return await this.#returns.find(id, look, signal);
  }

  /** @throws FairleadError HOST_NOT_FOUND, CONFLICT, VALIDATION */
  async update(ref: string, { addTags, removeTags, ...given }: HostChange, actor: Actor): Promise<HostView> {
    const updated = await this.#deps.store.transaction(async (tables) => {
      const { id, name, tags } = await tables.hosts.get(ref);
      const change = { ...given, ...changedTags(given.tags ?? tags, addTags, removeTags) };
      const after = await tables.hosts.update(id, change);
      await this.#deps.audit.record(entry(actor, 'host.update', after, { before: { name, tags }, ...change }), tables);
      return after;
    });
    this.#announceScope(updated.id, updated.tags);
    return await this.#view(updated);
  }

  /** Revokes the host and takes it out of the list; its certificates stay known as revoked. */
  async remove(ref: string, actor: Actor): Promise<void> {
    const host = await this.#deps.store.hosts.get(ref);
    const reason = 'the host was removed';
    const serials = await this.#deps.store.transaction(async (tables) => {
      const now = this.#deps.clock.now();
      const revoked = await tables.certificates.revokeOf(host.id, now, reason);
      await tables.hawserTokens.revokeOf([host.id], now);
      // An older database still has the host, and is to know that it is revoked.
      await tables.hosts.markRevoked(host.id, now, reason);
      await tables.hawserStandard.delete(host.id);
      await tables.recoveries.deleteOf(host.id);
      await tables.hosts.delete(host.id);
      return revoked;
    });
    this.#cutOff(host.id, serials, reason);
    this.#announceScope(host.id, undefined);
    await this.#deps.audit.recordOrLog(entry(actor, 'host.remove', host, { serials }));
  }

  /** Revokes all certificates of a host and ends its session. */
  async revoke(ref: string, reason: string, actor: Actor): Promise<HostView> {
    const { host, serials } = await this.#revokeRows(ref, reason);
    this.#cutOff(host.id, serials, reason);
    await this.#deps.audit.recordOrLog(entry(actor, 'host.revoke', host, { reason, serials }));
    return await this.#view(host);
  }

  /** Revokes many hosts and certificates. @throws FairleadError if the store fails; it says how far it came */
  async revokeMany(request: BulkRevocation, actor: Actor): Promise<BulkResult> {
    return await revokeMany(this.#deps, request, actor);
  }

  /**
   * The host's owner takes it out of the mesh. Its session may still take the answer along; no new one opens. An agent that has
   * not taken the place of another one yet leaves by itself, and the host goes on with that.
   */
  async leave(hostId: string, reason: string, address: string): Promise<void> {
    const { host, serials } = await this.#revokeRows(hostId, reason, 'its agent');
    this.#deps.forget(serials);
    this.#returns.wake(hostId);
    const actor = { name: `host:${host.name}`, address };
    await this.#deps.audit.recordOrLog(entry(actor, 'host.leave', host, { reason, serials }));
  }

  /** Revokes one certificate; a host that has nothing else is revoked with it. @throws FairleadError NOT_FOUND */
  async revokeSerial(serial: string, reason: string, actor: Actor): Promise<CertificateView> {
    const now = this.#deps.clock.now();
    const { row, host, serials } = await this.#deps.store.transaction(async (tables) => {
      const revoked = await tables.certificates.revoke(normalizeSerial(serial.replaceAll(':', '')), now, reason);
      const left = await tables.certificates.list({ limit: 1 }, { hostId: revoked.hostId, state: 'active' });
      const owner = await tables.hosts.find(revoked.hostId);
      if (left.items.length > 0 || owner === undefined) return { row: revoked, host: owner, serials: [] };
      if (owner.kind === 'native') await tables.hosts.markRevoked(owner.id, now, reason);
      // What it was issued and has not used yet goes with it.
      return { row: revoked, host: owner, serials: await tables.certificates.revokeOf(owner.id, now, reason) };
    });
    this.#deps.forget([row.serial, ...serials]);
    for (const gone of [row.serial, ...serials]) {
      this.#deps.disconnect({ hostId: row.hostId, serial: gone }, 'CERT_REVOKED', reason);
    }
    const owner = host ?? { id: row.hostId, name: row.hostId };
    const detail = { reason, serials: [row.serial, ...serials] };
    await this.#deps.audit.recordOrLog(entry(actor, 'certificate.revoke', owner, detail));
    return { ...row, hostName: host?.name };
  }

  /** Newest first; those of hosts in `scope` only, if there is one. */
  async certificates(page: PageRequest, scope?: HostScope): Promise<Page<CertificateView>> {
    return await this.#certificates(page, { scope });
  }

  /** As `certificates`, those that are revoked. */
  async revocations(page: PageRequest, scope?: HostScope): Promise<Page<CertificateView>> {
    return await this.#certificates(page, { state: 'revoked', scope });
  }

  /** Why a serial is not on the allow-list, for the agent that holds the certificate. */
  async refusal(serial: string): Promise<FairleadError> {
    const row = await this.#deps.store.certificates.find(serial);
    if (row?.state === 'revoked') {
      return new FairleadError(
        'CERT_REVOKED',
        `this host's certificate was revoked: ${row.reason ?? 'no reason given'}`,
      );
    }
    return new FairleadError('CERT_UNKNOWN', "this host's certificate is not among the active ones of this server");
  }

  async #certificates(page: PageRequest, filter: CertificateFilter): Promise<Page<CertificateView>> {
    const { items, ...rest } = await this.#deps.store.certificates.list(page, filter);
    const views = items.map(async (row: CertificateRow) => {
      const host = await this.#deps.store.hosts.find(row.hostId);
      return { ...row, hostName: host?.name };
    });
    return { items: await Promise.all(views), ...rest };
  }

  async #view(host: HostRow): Promise<HostView> {
    const certificate = await this.#deps.store.certificates.latestOf(host.id);
    const upgrade = await this.#deps.upgradeOf?.(host.id);
    return { ...hostView(host, this.#deps.registry.link(host.id), certificate), lastUpgrade: upgrade };
  }

  /** The rows first: whatever happens next, a restart finds the host revoked. */
  async #revokeRows(
    ref: string,
    reason: string,
    what: 'the host' | 'its agent' = 'the host',
  ): Promise<{ host: HostRow; serials: string[] }> {
    const now = this.#deps.clock.now();
    return await this.#deps.store.transaction(async (tables) => {
      const found = await tables.hosts.get(ref);
      const { id } = found;
      const serials = await tables.certificates.revokeOf(id, now, reason);
      if (what === 'its agent' && found.kind !== 'native') return { host: found, serials };
      await tables.hawserTokens.revokeOf([id], now);
      await tables.recoveries.deleteOf(id);
      return { host: await tables.hosts.markRevoked(id, now, reason), serials };
    });
  }

  #announceScope(hostId: string, tags: readonly string[] | undefined): void {
    for (const listener of this.#scopeListeners) listener(hostId, tags);
  }

  #cutOff(hostId: string, serials: readonly string[], reason: string): void {
    this.#deps.forget(serials);
    this.#deps.disconnect({ hostId }, 'CERT_REVOKED', reason);
  }
}

/** The tags after some were added and some taken away; nothing where neither is asked. @throws FairleadError VALIDATION */
function changedTags(
  tags: readonly string[],
  add?: readonly string[],
  remove?: readonly string[],
): { tags?: string[] } {
  if (add === undefined && remove === undefined) return {};
  const next = [...new Set([...tags, ...(add ?? [])])].filter((tag) => !remove?.includes(tag));
  if (next.length <= MAX_TAGS) return { tags: next };
  throw new FairleadError('VALIDATION', `a host has ${MAX_TAGS} tags at most, and these would be ${next.length}`);
}

/** Why a host without a link has none. */
function absence(host: HostRow): string {
  if (host.revokedAt !== undefined) return 'is revoked';
  if (host.quarantinedAt !== undefined) return 'is in quarantine: release or revoke it';
  if (host.kind === 'hawser-standard')
    return 'cannot be reached: `fairlead hawser show` says why; the server goes on trying';
  const agent = host.kind === 'native' ? 'fairlead-agent' : 'the agent of Hawser';
  if (host.lastSeenAt === undefined) return `has not connected yet: is ${agent} running on it?`;
  return 'is not connected; it comes back by itself';
}

function entry(
  actor: Actor,
  action: string,
  host: { readonly id: string; readonly name: string },
  detail: Record<string, unknown>,
): AuditEntry {
  const { name, address } = actor;
  return { actor: name, address, action, target: host.id, result: 'ok', detail: { name: host.name, ...detail } };
}
