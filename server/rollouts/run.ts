/**
 * A rollout that goes on: tells its state machine what happens, writes down what that decides, and only then asks hosts. What
 * fails because the store cannot be written is tried again; no host is asked meanwhile.
 */
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { Audit } from '../audit/audit.ts';
import { Delivery } from '../delivery.ts';
import type { Releases } from '../releases/releases.ts';
import type { HostUpgradeRow } from '../store/host-upgrades.ts';
import type { NewRollout, RolloutHost, RolloutProgress } from '../store/rollouts.ts';
import type { Store } from '../store/store.ts';
import type { HostUpgrades } from '../upgrades/host-upgrades.ts';
import type { RolloutMachine, RolloutNews } from './machine.ts';

const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 60_000;

/** What says of a host that it cannot be asked; anything else passes. */
const UNFIT: ReadonlySet<ErrorCode> = new Set(['HOST_NOT_FOUND', 'NOT_FOUND', 'UNSUPPORTED', 'CONFLICT']);
/** What nobody has asked for in so many words, and is in the audit log all the same. */
const ACTIONS: Partial<Record<RolloutNews, string>> = { stage: 'stage', halted: 'halt', done: 'done' };

export interface RolloutEvent {
  readonly type: string;
  readonly subject: string;
  readonly attributes: Record<string, string>;
}

export interface RunDeps {
  readonly store: Store;
  readonly upgrades: Pick<HostUpgrades, 'find' | 'wish' | 'giveUp'>;
  readonly releases: Pick<Releases, 'chosen'>;
  readonly audit: Pick<Audit, 'recordOrLog'>;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Tells the world. */
  tell(event: RolloutEvent): void;
}

export class RolloutRun {
  readonly row: NewRollout;
  readonly machine: RolloutMachine;
  readonly #deps: RunDeps;
  readonly #onEnd: () => void;
  readonly #delivery: Delivery;
  #timer: Timer | undefined;
  /** What the machine has decided and is not done yet. */
  readonly #unwritten = new Map<string, RolloutHost>();
  #news: RolloutNews[] = [];
  #withdraw: string[] = [];
  readonly #ask: Set<string>;
  /** Whose sessions ended by a revocation: of the host, or of a certificate alone. */
  readonly #suspects = new Set<string>();
  #written = unheard();

  /** @param onEnd called once the end is written down */
  constructor(row: NewRollout, machine: RolloutMachine, deps: RunDeps, onEnd: () => void) {
    this.row = row;
    this.machine = machine;
    this.#deps = deps;
    this.#onEnd = onEnd;
    // Those of a server that has stopped may have ended since, or were never asked.
    this.#ask = new Set(machine.hosts.filter(({ state }) => state === 'asked').map(({ hostId }) => hostId));
    const { clock, random } = deps;
    this.#delivery = new Delivery({
      ...{ clock, random, retryMinMs: RETRY_MIN_MS, retryMaxMs: RETRY_MAX_MS },
      step: () => this.#step(),
      onFailure: async (error) => this.#failed(error),
    });
  }

  /** Whether a host is in it and has not had its end. */
  has(hostId: string): boolean {
    const state = this.machine.host(hostId)?.state;
    return state === 'pending' || state === 'asked';
  }

  /**
   * Does what an administrator asks for.
   * @throws FairleadError CONFLICT; STORE_FULL, STORE_UNAVAILABLE when it is done and could not be written down yet
   */
  async command(what: (machine: RolloutMachine, now: number) => void): Promise<void> {
    what(this.machine, this.#deps.clock.monotonic());
    const { promise } = this.#written;
    this.#delivery.wake();
    await promise;
  }

  presence(hostId: string, isOnline: boolean): void {
    this.machine.presence(hostId, isOnline, this.#deps.clock.monotonic());
    // Whether one that has ended is there matters once the next stage is due.
    const isAwaited = this.machine.isHeldBack && this.machine.host(hostId)?.state === 'done';
    if (this.has(hostId) || isAwaited) this.#delivery.wake();
  }

  /** The session of the host was ended by a revocation. */
  suspect(hostId: string): void {
    if (!this.has(hostId)) return;
    this.#suspects.add(hostId);
    this.#delivery.wake();
  }

  removed(hostId: string): void {
    if (!this.has(hostId)) return;
    this.#end(hostId, { state: 'skipped', code: 'HOST_NOT_FOUND', detail: 'the host was removed' });
  }

  /** The upgrade of a host has another state. */
  heard(upgrade: HostUpgradeRow): void {
    const { hostId, sequence, state, code, detail } = upgrade;
    if (sequence !== this.row.sequence) return;
    // However it came by the release, it has it.
    if (state === 'done' && this.has(hostId)) this.#end(hostId, { state: 'done' });
    const before = this.machine.host(hostId)?.state;
    const isOurs = (before === 'asked' || before === 'done') && upgrade.rolloutId === this.row.id;
    if (isOurs && (state === 'failed' || state === 'refused')) this.#end(hostId, { state: 'failed', code, detail });
  }

  /** Leaves it to the next start. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#delivery.close();
    this.#timer?.cancel();
    this.#written.reject(new FairleadError('SHUTDOWN', 'the server is stopping'));
  }

  #end(hostId: string, end: Parameters<RolloutMachine['ended']>[1]): void {
    this.machine.ended(hostId, end, this.#deps.clock.monotonic());
    this.#delivery.wake();
  }

  /** @returns whether more has come of it */
  async #step(): Promise<boolean> {
    const { endedAt } = await this.#decide();
    this.#announce();
    for (const hostId of this.#withdraw.splice(0)) {
      this.#deps.upgrades.giveUp(hostId, this.row.sequence, this.machine.host(hostId)?.detail ?? '');
    }
    if (endedAt !== undefined) {
      this.#written.resolve();
      this.#onEnd();
      return false;
    }
    const hasAsked = this.#ask.size > 0;
    for (const hostId of this.#ask) {
      await this.#askHost(hostId);
      this.#ask.delete(hostId);
    }
    return (await this.#checkSuspects()) || hasAsked;
  }

  /** Takes over what the machine makes of what has happened, and writes it down. @returns what is written */
  async #decide(): Promise<RolloutProgress> {
    const { clock, store } = this.#deps;
    const now = clock.monotonic();
    this.machine.look(now);
    const { progress } = this.machine;
    const { changed, ask, withdraw, news } = this.machine.take();
    for (const host of changed) this.#unwritten.set(host.hostId, host);
    for (const hostId of ask) this.#ask.add(hostId);
    this.#withdraw.push(...withdraw);
    this.#news.push(...news);
    this.#timer?.cancel();
    const { nextAt } = this.machine;
    if (nextAt !== undefined) this.#timer = clock.setTimeout(() => this.#delivery.wake(), nextAt - now);
    const written = this.#written;
    this.#written = unheard();
    try {
      await store.transaction(async ({ rollouts }) => {
        await rollouts.update(this.row.id, progress, [...this.#unwritten.values()]);
      });
    } catch (error) {
      written.reject(error);
      throw error;
    }
    this.#unwritten.clear();
    written.resolve();
    return progress;
  }

  #announce(): void {
    const { tell, audit, log } = this.#deps;
    const { id, version, sequence, createdBy } = this.row;
    const { state, stage, reason } = this.machine.progress;
    const { hosts, done, failed } = this.machine.figures(this.#deps.clock.monotonic()).total;
    const facts = {
      version,
      sequence,
      stage: stage + 1,
      hosts,
      done,
      failed,
      ...(reason === undefined ? {} : { reason }),
    };
    for (const news of this.#news.splice(0)) {
      log.info({ rollout: id, news, state, ...facts }, 'a rollout goes on');
      const attributes = Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, String(value)]));
      tell({ type: `rollout.${news}`, subject: id, attributes });
      const action = ACTIONS[news];
      const result = news === 'halted' ? 'failed' : 'ok';
      if (action === undefined) continue;
      void audit.recordOrLog({ actor: createdBy, action: `rollout.${action}`, target: id, result, detail: facts });
    }
  }

  /** @throws FairleadError what passes by itself */
  async #askHost(hostId: string): Promise<void> {
    const { upgrades, releases } = this.#deps;
    const { id, sequence, createdBy } = this.row;
    // It may have had its end while it could not be asked.
    if (this.machine.host(hostId)?.state !== 'asked') return;
    const release = releases.chosen({ sequence });
    const last = await upgrades.find(hostId);
    // Asked by a server that has stopped since.
    if (last?.rolloutId === id && last.endedAt !== undefined) {
      this.heard(last);
      return;
    }
    try {
      const { state } = await upgrades.wish(hostId, { release, by: { name: createdBy }, rolloutId: id });
      if (state === 'current') this.#end(hostId, { state: 'done' });
    } catch (error) {
      if (!isFairleadError(error) || !UNFIT.has(error.code)) throw error;
      this.#end(hostId, { state: 'skipped', code: error.code, detail: error.message });
    }
  }

  /** A revoked host is no host any more; one of which a certificate was revoked may come back. @returns whether there was one */
  async #checkSuspects(): Promise<boolean> {
    const { store } = this.#deps;
    const hadSome = this.#suspects.size > 0;
    for (const hostId of this.#suspects) {
      const host = await store.hosts.find(hostId);
      this.#suspects.delete(hostId);
      if (host?.revokedAt === undefined) continue;
      this.#end(hostId, { state: 'skipped', code: 'CERT_REVOKED', detail: 'the host was revoked' });
    }
    return hadSome;
  }

  #failed(error: unknown): void {
    this.#deps.log.warn({ err: error, rollout: this.row.id }, 'a rollout is held up and goes on by itself');
  }
}

/** A promise for which nobody may wait. */
function unheard(): PromiseWithResolvers<void> {
  const made = Promise.withResolvers<void>();
  made.promise.catch(() => undefined);
  return made;
}
