/**
 * A rollout as a state machine: it is told what happens and what time it is, and says which hosts are to be asked. It does
 * nothing by itself. Times are those of a clock that nobody sets, in ms, unless they say otherwise. What it promises: never
 * more hosts under way than `parallel`; none is asked while it is not running, nor before its stage; each host reaches one end
 * and keeps it, but for one that was upgraded and goes back while others are to come: that one has failed.
 */
import { FairleadError } from '../../shared/errors.ts';
import type { RolloutHost, RolloutProgress } from '../store/rollouts.ts';
import { allowedFailures, type RolloutOptions } from './options.ts';
import { type Figures, type HostEnd, hasEnded, noFigures } from './progress.ts';
import { AWAY_MS, RolloutHosts } from './rollout-hosts.ts';

/** What has become of the rollout itself. */
export type RolloutNews = 'started' | 'stage' | 'paused' | 'resumed' | 'halted' | 'aborted' | 'done';

/** What is to be done since the last time that was asked. */
export interface Outcome {
  /** To be written down before anybody is asked. */
  readonly changed: readonly RolloutHost[];
  readonly ask: readonly string[];
  /** The release is not wished for these any more. */
  readonly withdraw: readonly string[];
  readonly news: readonly RolloutNews[];
}

export interface MachineOptions {
  readonly options: RolloutOptions;
  readonly progress: RolloutProgress;
  readonly hosts: readonly RolloutHost[];
  /** Since when each host that is offline is; one that is online is not in it. */
  readonly away: ReadonlyMap<string, number>;
  /** Who was asked earlier has its whole time from now on: nobody could answer before. */
  readonly now: number;
  /** What the wall clock says at a time, ms since 1970: for what is written down. */
  readonly toWall: (at: number) => number;
}

export class RolloutMachine {
  readonly #options: RolloutOptions;
  readonly #hosts: RolloutHosts;
  readonly #openedAt: number;
  readonly #toWall: (at: number) => number;
  /** Since when each host is under way that was asked since then. */
  readonly #askedAt = new Map<string, number>();
  /** When the stage that goes on begins, or has begun. */
  #stageAt: number;
  /** The last stage that was let begin. */
  #begun: number;
  #isHeldBack = false;
  readonly #allowed: number;
  #progress: RolloutProgress;
  #ask: string[] = [];
  #withdraw: string[] = [];
  #news: RolloutNews[] = [];
  #nextAt: number | undefined;

  constructor({ options, progress, hosts, away, now, toWall }: MachineOptions) {
    this.#options = options;
    this.#progress = progress;
    this.#hosts = new RolloutHosts(hosts, away);
    this.#openedAt = now;
    this.#toWall = toWall;
    // The wall clock may have been set back meanwhile.
    this.#stageAt = now + Math.min(progress.stageAt - toWall(now), options.pauseSeconds * 1000);
    const staged = hosts.filter(({ stage }) => stage >= 0);
    const wasBegun = staged.some(({ stage, state }) => stage === progress.stage && state !== 'pending');
    this.#begun = progress.stage - (wasBegun ? 0 : 1);
    this.#allowed = allowedFailures(options, staged.length);
  }

  get progress(): RolloutProgress {
    return this.#progress;
  }

  /** In the order in which they are asked. */
  get hosts(): readonly RolloutHost[] {
    return [...this.#hosts];
  }

  /** When it is to look again at the latest; undefined: once something happens. */
  get nextAt(): number | undefined {
    return this.#nextAt;
  }

  /** Whether a stage is due and waits for one of the hosts that were upgraded to come back. */
  get isHeldBack(): boolean {
    return this.#isHeldBack;
  }

  host(hostId: string): RolloutHost | undefined {
    return this.#hosts.find(hostId);
  }

  /** Whether a host should have been asked and is offline. */
  isWaiting(host: RolloutHost, now: number): boolean {
    if (host.state !== 'pending' || this.#progress.state === 'planned' || host.stage > this.#progress.stage)
      return false;
    return this.#hosts.isAway(host, now);
  }

  /** Over all hosts, and over those of each stage. */
  figures(now: number): { total: Figures; stages: Figures[] } {
    const total = noFigures();
    const stages = this.#options.stages.map(noFigures);
    for (const host of this.#hosts) {
      const state = this.isWaiting(host, now) ? 'waiting' : host.state;
      for (const figures of [total, stages[host.stage]]) {
        if (figures === undefined) continue;
        figures.hosts++;
        figures[state]++;
      }
    }
    return { total, stages };
  }

  /** What is to be done since the last call. */
  take(): Outcome {
    const outcome = { changed: this.#hosts.takeChanged(), ask: this.#ask, withdraw: this.#withdraw, news: this.#news };
    [this.#ask, this.#withdraw, this.#news] = [[], [], []];
    return outcome;
  }

  /** No host is asked until it is resumed. @throws FairleadError CONFLICT */
  pause(now: number): void {
    const { state } = this.#progress;
    if (state === 'paused') return;
    if (state !== 'running') throw this.#conflict('paused');
    this.#set({ state: 'paused', reason: 'it was paused' }, 'paused');
    this.look(now);
  }

  /**
   * Begins what was only planned, goes on with what is paused or halted, and ends the wait before the next stage.
   * @throws FairleadError CONFLICT
   */
  resume(now: number): void {
    const { state, endedAt } = this.#progress;
    const isHeld = state === 'planned' || state === 'paused' || state === 'halted';
    const isBetween = state === 'running' && this.#stageAt > now;
    if (endedAt !== undefined || !(isHeld || isBetween)) throw this.#conflict('resumed');
    const forgiven = this.#hosts.count('failed');
    const stage = state === 'halted' ? this.#stageToResume(now) : this.#progress.stage;
    this.#set(
      { state: 'running', reason: undefined, forgiven, stage, ...this.#stageFrom(now) },
      state === 'planned' ? 'started' : 'resumed',
    );
    this.look(now);
  }

  /** Asks nobody any more; those that are under way reach their end. @throws FairleadError CONFLICT */
  abort(now: number): void {
    const { state, endedAt } = this.#progress;
    if (state === 'aborted') return;
    if (endedAt !== undefined) throw this.#conflict('aborted');
    for (const host of this.#hosts) {
      if (host.state === 'pending') this.#hosts.update(host, { state: 'cancelled', endedAt: this.#toWall(now) });
    }
    this.#set({ state: 'aborted', reason: undefined }, 'aborted');
    this.look(now);
  }

  /** The host connects, or its session is gone. To be followed by a look. */
  presence(hostId: string, isOnline: boolean, now: number): void {
    this.#hosts.presence(hostId, isOnline, now);
  }

  /** The host has come to an end; or, after it was done, has gone back, and so has failed. To be followed by a look. */
  ended(hostId: string, { state, code, detail }: HostEnd, now: number): void {
    const host = this.#hosts.find(hostId);
    const isOver = this.#progress.endedAt !== undefined;
    const wentBack = host?.state === 'done' && state === 'failed';
    if (host === undefined || isOver || (hasEnded(host) && !wentBack)) return;
    this.#hosts.update(host, { state, code, detail, endedAt: this.#toWall(now) });
  }

  /** Sees to what is due by now. */
  look(now: number): void {
    if (this.#progress.endedAt !== undefined) return;
    this.#endLate(now);
    this.#haltIfTooMany();
    this.#isHeldBack = false;
    if (this.#progress.state === 'running') this.#goOn(now);
    this.#endIfOver(now);
    this.#nextAt = this.#nextLook(now);
  }

  #goOn(now: number): void {
    while (this.#progress.state === 'running') {
      this.#giveUpWaiting(now);
      this.#beginStage(now);
      if (this.#progress.state !== 'running') return;
      this.#askSome(now);
      const { stage } = this.#progress;
      if (!this.#hasBegun(now) || stage >= this.#hosts.lastStage || !this.#isStageOver(now)) return;
      this.#leaveStage(now);
    }
  }

  /**
   * Once it is due, a stage begins: unless all that have the release already are gone, and not before one of them is back if they
   * may be on their way. Resumed after that halt, it begins all the same.
   */
  #beginStage(now: number): void {
    const { stage } = this.#progress;
    if (this.#stageAt > now || this.#begun >= stage) return;
    const proof = this.#hosts.filter(({ state }) => state === 'done');
    const isProven = proof.length === 0 || proof.some((host) => this.#hosts.awaySince(host) === undefined);
    this.#isHeldBack = !isProven && !proof.every((host) => this.#hosts.isAway(host, now));
    if (this.#isHeldBack) return;
    this.#begun = stage;
    if (isProven) return;
    const which =
      proof.length === 1 ? 'the host that was upgraded is' : `all ${proof.length} hosts that were upgraded are`;
    this.#set({ state: 'halted', reason: `${which} offline` }, 'halted');
  }

  #hasBegun(now: number): boolean {
    return this.#stageAt <= now && this.#begun >= this.#progress.stage;
  }

  /** As many as there is room for, of this stage once it has begun, and of earlier ones. */
  #askSome(now: number): void {
    const { stage } = this.#progress;
    const last = this.#hasBegun(now) ? stage : stage - 1;
    let room = this.#options.parallel - this.#hosts.count('asked');
    for (const host of this.#hosts) {
      if (room <= 0 || host.stage > last) return;
      if (host.state !== 'pending' || this.#hosts.awaySince(host) !== undefined) continue;
      this.#hosts.update(host, { state: 'asked', askedAt: this.#toWall(now) });
      this.#askedAt.set(host.hostId, now);
      this.#ask.push(host.hostId);
      room--;
    }
  }

  /** All that are there have ended; without one that was done, those that are not are waited for. */
  #isStageOver(now: number): boolean {
    let [done, waiting] = [0, 0];
    for (const host of this.#hosts) {
      if (host.stage !== this.#progress.stage) continue;
      if (host.state === 'done') done++;
      else if (this.isWaiting(host, now)) waiting++;
      else if (!hasEnded(host)) return false;
    }
    return done > 0 || waiting === 0;
  }

  #leaveStage(now: number): void {
    const { stage } = this.#progress;
    const { pauseSeconds, confirm } = this.#options;
    const isProven = this.#hosts.isProven(stage);
    this.#set({ stage: this.#hosts.stageBehind(stage), ...this.#stageFrom(now + pauseSeconds * 1000) });
    if (!isProven) {
      this.#set({ state: 'halted', reason: `no host of stage ${stage + 1} was upgraded` }, 'halted');
    } else if (confirm) {
      const reason = `stage ${stage + 1} is over; the next one begins once it is resumed`;
      this.#set({ state: 'paused', reason }, 'paused');
    } else this.#news.push('stage');
  }

  /** Whoever resumes after the last host of a stage has failed knows that none of it was upgraded. */
  #stageToResume(now: number): number {
    const { stage } = this.#progress;
    const isVain = this.#isStageOver(now) && !this.#hosts.isProven(stage);
    return isVain ? this.#hosts.stageBehind(stage) : stage;
  }

  #stageFrom(at: number): Pick<RolloutProgress, 'stageAt'> {
    this.#stageAt = at;
    return { stageAt: this.#toWall(at) };
  }

  #endLate(now: number): void {
    const { hostTimeoutSeconds } = this.#options;
    for (const host of this.#hosts) {
      if (host.state !== 'asked' || this.#deadlineOf(host) > now) continue;
      const detail = `the host did not come back with the release within ${hostTimeoutSeconds} s`;
      this.#hosts.update(host, { state: 'failed', code: 'TIMEOUT', detail, endedAt: this.#toWall(now) });
      this.#withdraw.push(host.hostId);
    }
  }

  #haltIfTooMany(): void {
    const { state, forgiven } = this.#progress;
    const failures = this.#hosts.count('failed') - forgiven;
    if ((state !== 'running' && state !== 'paused') || failures <= this.#allowed) return;
    const hosts = failures === 1 ? '1 host has failed' : `${failures} hosts have failed`;
    this.#set({ state: 'halted', reason: `${hosts}, and ${this.#allowed} may` }, 'halted');
  }

  #giveUpWaiting(now: number): void {
    const { waitSeconds } = this.#options;
    if (now < this.#stageAt + waitSeconds * 1000) return;
    for (const host of this.#hosts) {
      if (!this.isWaiting(host, now)) continue;
      const detail = `the host did not connect within ${waitSeconds} s`;
      this.#hosts.update(host, { state: 'skipped', code: 'HOST_OFFLINE', detail, endedAt: this.#toWall(now) });
    }
  }

  #endIfOver(now: number): void {
    const { state } = this.#progress;
    for (const host of this.#hosts) if (!hasEnded(host)) return;
    const isKept = state === 'aborted' || state === 'halted';
    const endedAt = this.#toWall(now);
    if (isKept) this.#set({ endedAt });
    else this.#set({ state: 'done', reason: undefined, endedAt }, 'done');
  }

  #nextLook(now: number): number | undefined {
    const { state, stage, endedAt } = this.#progress;
    if (endedAt !== undefined) return undefined;
    const times: number[] = state === 'running' ? [this.#stageAt] : [];
    for (const host of this.#hosts) {
      if (host.state === 'asked') times.push(this.#deadlineOf(host));
      const since = this.#hosts.awaySince(host);
      if (this.#isHeldBack && host.state === 'done' && since !== undefined) times.push(since + AWAY_MS);
      if (state !== 'running' || host.state !== 'pending' || host.stage > stage || since === undefined) continue;
      times.push(since + AWAY_MS, this.#stageAt + this.#options.waitSeconds * 1000);
    }
    const next = times.reduce((first, at) => (at > now ? Math.min(first, at) : first), Number.POSITIVE_INFINITY);
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  #deadlineOf({ hostId }: RolloutHost): number {
    return (this.#askedAt.get(hostId) ?? this.#openedAt) + this.#options.hostTimeoutSeconds * 1000;
  }

  #set(change: Partial<RolloutProgress>, news?: RolloutNews): void {
    this.#progress = { ...this.#progress, ...change };
    if (news !== undefined) this.#news.push(news);
  }

  #conflict(what: string): FairleadError {
    const { state, endedAt } = this.#progress;
    const [over, advice] =
      endedAt === undefined ? ['', ''] : [' and over', '; start a new one for hosts that were not upgraded'];
    return new FairleadError('CONFLICT', `the rollout is ${state}${over}: it cannot be ${what}${advice}`);
  }
}
