/**
 * The release that each host is wished to run: offered to its agent until that has taken it, or has said why not. What is under
 * way is in memory and in the store; what has ended is in the store alone.
 */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, toWireError } from '../../shared/errors.ts';
import type { Hello } from '../../shared/messages/control.ts';
import { type AgentUpgradeStatus, agentUpgrade } from '../../shared/messages/release.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import { fileFor, type ReleaseView } from '../releases/release-view.ts';
import type { Releases } from '../releases/releases.ts';
import type { HostUpgradeRow, HostUpgradeState } from '../store/host-upgrades.ts';
import type { Store } from '../store/store.ts';
import { Tellers } from './tellers.ts';
import { afterHello, afterStatus, hasEnded, type Outcome, takesOffer } from './transitions.ts';
import { UpgradeNews, type UpgradeNewsDeps } from './upgrade-news.ts';
import { UpgradeRows } from './upgrade-rows.ts';
import { requireNoOtherRollout, requireWishable } from './wishable.ts';

/** How much of the compressed executable a host has. */
export interface UpgradeProgress {
  readonly receivedBytes: number | undefined;
  readonly totalBytes: number | undefined;
}

const NO_PROGRESS: UpgradeProgress = { receivedBytes: undefined, totalBytes: undefined };

export type HostUpgrade = HostUpgradeRow & UpgradeProgress;

/** What was asked for, and what came of that at once. */
export interface Wish extends Pick<HostUpgradeRow, 'hostId' | 'from' | 'to' | 'sequence'> {
  readonly hostName: string;
  /** `current`: the host runs that version already. */
  readonly state: HostUpgradeState | 'current';
}

export interface WishOptions {
  readonly release: ReleaseView;
  readonly by: Actor;
  readonly rolloutId?: string;
}

export interface HostUpgradesDeps extends Pick<UpgradeNewsDeps, 'tell'> {
  readonly store: Store;
  readonly audit: Audit;
  readonly registry: HostRegistry;
  readonly releases: Pick<Releases, 'list' | 'onRemoval'>;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
}

export class HostUpgrades {
  readonly #deps: HostUpgradesDeps;
  /** Those that have not ended, by host. */
  readonly #active = new Map<string, HostUpgrade>();
  readonly #tellers: Tellers;
  readonly #rows: UpgradeRows;
  readonly #news: UpgradeNews;
  readonly #listeners = new Set<(row: HostUpgradeRow) => void>();
  readonly #unsubscribe: () => void;

  /** Goes on with what is under way. @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: HostUpgradesDeps): Promise<HostUpgrades> {
    return new HostUpgrades(deps, await deps.store.hostUpgrades.active());
  }

  private constructor(deps: HostUpgradesDeps, active: readonly HostUpgradeRow[]) {
    this.#deps = deps;
    this.#rows = new UpgradeRows(deps);
    this.#tellers = new Tellers(deps.clock);
    this.#news = new UpgradeNews(deps);
    for (const row of active) this.#active.set(row.hostId, { ...row, ...NO_PROGRESS });
    deps.releases.onRemoval((sequence) => this.#needs(sequence));
    // One that was wished for after its agent had said hello and before it was attached.
    this.#unsubscribe = deps.registry.subscribe({ online: (link) => this.#offerLate(link) });
  }

  /** Calls `listener` after each change of state. @returns a function that stops it */
  onChange(listener: (row: HostUpgradeRow) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What is under way at a host, or has ended there last. */
  async find(hostId: string): Promise<HostUpgrade | undefined> {
    // How it has ended may be on its way to the store.
    if (!this.#active.has(hostId)) await this.#rows.written(hostId);
    const active = this.#active.get(hostId);
    if (active !== undefined) return active;
    const row = await this.#deps.store.hostUpgrades.find(hostId);
    return row && { ...row, ...NO_PROGRESS };
  }

  /**
   * Wishes a release at a host, in the place of what was wished there before; it is offered at once, or when the host comes.
   * @throws FairleadError HOST_NOT_FOUND; UNSUPPORTED for a host whose agent cannot; NOT_FOUND without an executable for it;
   *   CONFLICT if the agent says that it does not, if the host is revoked, or if a rollout has it
   */
  async wish(ref: string, options: WishOptions): Promise<Wish> {
    const { store, audit, registry, clock } = this.#deps;
    const { release, by, rolloutId } = options;
    const host = await store.hosts.get(ref);
    const link = registry.link(host.id);
    const from = link?.describe().agentVersion ?? host.agentVersion;
    const target = { hostId: host.id, hostName: host.name, from, to: release.version, sequence: release.sequence };
    const before = this.#active.get(host.id);
    if (before !== undefined) requireNoOtherRollout(before, host.name, rolloutId);
    await requireWishable(this.#deps.store, host, link, release);
    if (from === release.version) return { ...target, state: 'current' };
    if (before?.sequence === release.sequence && before.rolloutId === rolloutId)
      return { ...target, state: before.state };
    const now = clock.now();
    const row: HostUpgradeRow = {
      ...{ hostId: host.id, sequence: release.sequence, from, to: release.version, state: 'wished', rolloutId },
      ...{ code: undefined, detail: undefined, createdBy: by.name, createdAt: now },
      ...{ offeredAt: undefined, changedAt: now, endedAt: undefined },
    };
    const detail = { name: host.name, from, to: row.to, sequence: row.sequence, rollout: rolloutId };
    await store.transaction(async (tables) => {
      await tables.hostUpgrades.put(row);
      await audit.record({ ...who(by), action: 'host.upgrade', target: host.id, result: 'ok', detail }, tables);
    });
    // Once more behind what is being written of the wish before.
    this.#keep(row);
    this.#offerLate(registry.link(host.id));
    return { ...target, state: this.#active.get(host.id)?.state ?? 'wished' };
  }

  /**
   * Takes a wish back that its host has not begun to act upon for good.
   * @throws FairleadError HOST_NOT_FOUND, NOT_FOUND if there is none, CONFLICT if it is too late, or if a rollout has it
   */
  async cancel(ref: string, by: Actor, rolloutId?: string): Promise<void> {
    const { store, audit } = this.#deps;
    const { id, name } = await store.hosts.get(ref);
    const row = this.#active.get(id);
    if (row === undefined) throw new FairleadError('NOT_FOUND', `no upgrade of the host ${name} is under way`);
    requireNoOtherRollout(row, name, rolloutId);
    if (row.state === 'trying' || row.state === 'restarting') {
      throw new FairleadError('CONFLICT', `the host ${name} is replacing its agent already: wait for the end of that`);
    }
    this.#active.delete(id);
    await this.#rows.written(id);
    try {
      await store.transaction(async (tables) => {
        await tables.hostUpgrades.delete(id);
        const detail = { name, to: row.to, sequence: row.sequence };
        await audit.record({ ...who(by), action: 'host.upgrade.cancel', target: id, result: 'ok', detail }, tables);
      });
    } catch (error) {
      this.#active.set(id, row);
      throw error;
    }
  }

  /** Ends an upgrade that nobody waits for any more; what the host says later still counts. */
  giveUp(hostId: string, sequence: number, detail: string): void {
    const row = this.#active.get(hostId);
    if (row?.sequence === sequence) this.#change(row, { state: 'failed', code: 'TIMEOUT', detail });
  }

  /** The host is no more. Never rejects: a row that stays names a host that there is none of. */
  async forget(hostId: string): Promise<void> {
    this.#active.delete(hostId);
    try {
      await this.#rows.written(hostId);
      await this.#deps.store.hostUpgrades.delete(hostId);
    } catch (error) {
      this.#deps.log.warn({ err: error, hostId }, 'the upgrade of a host that was removed is in the store still');
    }
  }

  // ————— what sessions ask

  /** The release to offer to a host whose agent has said hello. */
  greet(hostId: string, hello: Hello): SignedRelease | undefined {
    const row = this.#active.get(hostId);
    if (row === undefined) return undefined;
    const outcome = afterHello(row, hello);
    if (outcome !== undefined) {
      this.#change(row, outcome);
      return undefined;
    }
    const signed = this.#signedFor(row, hello);
    if (signed === undefined || !takesOffer(row, hello)) return undefined;
    this.#offered(row);
    return signed;
  }

  /** Takes in what an agent says of the release that it was offered. Never throws. */
  told(hostId: string, status: AgentUpgradeStatus): void {
    const row = this.#active.get(hostId);
    if (row === undefined) {
      if (this.#tellers.mayTell(hostId)) void this.#toldLate(hostId, status);
      return;
    }
    const { receivedBytes, totalBytes } = status;
    if (row.sequence === status.sequence) this.#active.set(hostId, { ...row, receivedBytes, totalBytes });
    const outcome = afterStatus(row, status);
    if (outcome !== undefined && (hasEnded(outcome.state) || this.#tellers.mayTell(hostId))) this.#change(row, outcome);
  }

  /** Whether an agent may try another executable beside it. */
  isUnderWay(hostId: string): boolean {
    const state = this.#active.get(hostId)?.state;
    return state !== undefined && state !== 'wished';
  }

  /** The release with this SHA-256 if it was offered to the host. */
  offeredTo(hostId: string, sha256: string): SignedRelease | undefined {
    const row = this.#active.get(hostId);
    if (row === undefined || row.state === 'wished') return undefined;
    const files = this.#releaseOf(row)?.files ?? [];
    return files.find(({ signed }) => signed.sha256 === sha256)?.signed;
  }

  /** Waits for what is being written. Idempotent. */
  async close(): Promise<void> {
    this.#unsubscribe();
    await this.#rows.close();
  }

  // ————— inside

  /** Offers what is wished at a host that is connected and has not been told. */
  #offerLate(link: HostLink | undefined): void {
    const row = link && this.#active.get(link.hostId);
    if (link === undefined || row === undefined || row.state !== 'wished' || link.wish === undefined) return;
    const { os, arch, upgrade, capabilities } = link.describe();
    const signed = this.#signedFor(row, { os, arch });
    const takes = upgrade?.able === true && capabilities.includes(agentUpgrade.name);
    if (signed === undefined || !takes || upgrade.refused?.includes(row.sequence) === true) return;
    link.wish(signed);
    this.#offered(row);
  }

  #releaseOf({ sequence }: HostUpgradeRow): ReleaseView | undefined {
    return this.#deps.releases.list().find((release) => release.sequence === sequence && release.state === 'ready');
  }

  #signedFor(row: HostUpgradeRow, platform: { os: string; arch: string }): SignedRelease | undefined {
    const release = this.#releaseOf(row);
    return release && fileFor(release, platform);
  }

  /** What a host says of an upgrade that had ended. Never rejects. */
  async #toldLate(hostId: string, status: AgentUpgradeStatus): Promise<void> {
    try {
      await this.#rows.written(hostId);
      const row = await this.#deps.store.hostUpgrades.find(hostId);
      const outcome = row && afterStatus(row, status);
      // Another one may have been wished meanwhile.
      if (row === undefined || outcome === undefined || this.#active.has(hostId)) return;
      if (this.#tellers.mayCorrect(hostId)) this.#change(row, outcome);
    } catch (error) {
      const { code } = toWireError(error);
      this.#deps.log.warn({ err: error, hostId, code }, 'what became of an upgrade could not be looked up');
    }
  }

  #offered(row: HostUpgradeRow): void {
    if (row.state !== 'wished') return;
    const now = this.#deps.clock.now();
    this.#keep({ ...row, state: 'offered', offeredAt: now, changedAt: now });
    this.#news.offered(row);
    for (const listener of this.#listeners) listener({ ...row, state: 'offered' });
  }

  #change(before: HostUpgradeRow, outcome: Outcome): void {
    const { state } = outcome;
    const now = this.#deps.clock.now();
    const row = { ...before, ...outcome, changedAt: now, endedAt: hasEnded(state) ? now : undefined };
    this.#keep(row);
    this.#news.changed(before, row);
    for (const listener of this.#listeners) listener(row);
  }

  #keep(row: HostUpgradeRow): void {
    const { hostId, sequence, state } = row;
    const before = this.#active.get(hostId);
    const progress = before?.sequence === sequence ? before : NO_PROGRESS;
    if (hasEnded(state)) this.#active.delete(hostId);
    else this.#active.set(hostId, { ...row, receivedBytes: progress.receivedBytes, totalBytes: progress.totalBytes });
    this.#rows.put(row);
  }

  /** Why a release must stay; undefined: it need not. */
  async #needs(sequence: number): Promise<string | undefined> {
    for (const row of this.#active.values()) {
      if (row.sequence !== sequence) continue;
      const host = await this.#deps.store.hosts.find(row.hostId);
      if (host !== undefined && host.revokedAt === undefined) return `the host ${host.name} is to run it`;
    }
    return undefined;
  }
}

function who({ name, address }: Actor) {
  return { actor: name, address };
}
