/** The way of this process out of, or into, an upgrade: what it found as it started, and which executable takes its place. */
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { durableDisk, pathsFor, type UpgradeDisk, type UpgradePaths } from './files.ts';
import { type UpgradeFailure, UpgradeJournal } from './journal.ts';
import { REPLACE_LIMIT_MS, SETTLE_MS, SETTLE_RETRY_MS } from './limits.ts';
import type { OwnProcess } from './own-process.ts';
import { findUpgrade, unsettled } from './start.ts';
import { putBack, removeBeside } from './swap.ts';

export interface ReplacementOptions {
  readonly stateDir: string;
  readonly own: OwnProcess;
  readonly clock: Clock;
  readonly log: Logger;
  readonly disk?: UpgradeDisk;
  readonly settleMs?: number;
}

/**
 * `settling`: this is a new executable, not welcomed yet. `swapped`: a new one stands in the place of this one's. `restored`:
 * the one before does.
 */
type State = 'serving' | 'settling' | 'swapped' | 'restored';

const STOPPED = {
  code: 'SHUTDOWN',
  detail: 'the agent was stopped before the new version had settled',
  again: true,
} as const;

export class Replacement {
  readonly journal: UpgradeJournal;
  readonly paths: UpgradePaths;
  readonly disk: UpgradeDisk;
  readonly settleMs: number;
  /** Why no upgrade can be written down; undefined: it can. */
  readonly damage: string | undefined;
  readonly #options: ReplacementOptions;
  readonly #replacing = new AbortController();
  #state: State = 'serving';
  #timer: Timer | undefined;

  /** Reads what is known of upgrades. To be called by the holder of the state directory. Never rejects: an agent serves without. */
  static async open(options: ReplacementOptions): Promise<Replacement> {
    const { stateDir, own, clock, log, disk = durableDisk } = options;
    const known = { disk, now: () => clock.now(), sequence: own.sequence };
    try {
      const replacement = new Replacement(options, await UpgradeJournal.load(stateDir, known));
      if (own.executable !== undefined) await replacement.#begin();
      return replacement;
    } catch (error) {
      log.error(
        { err: error, code: toWireError(error).code },
        'what is known of upgrades cannot be used: there are none',
      );
      const why = isFairleadError(error) ? 'its upgrade.json is damaged' : 'its upgrade.json cannot be written';
      return new Replacement(options, UpgradeJournal.empty(stateDir, known), why);
    }
  }

  private constructor(options: ReplacementOptions, journal: UpgradeJournal, damage?: string) {
    this.#options = options;
    this.journal = journal;
    this.paths = pathsFor(options.own.executable ?? '');
    this.disk = options.disk ?? durableDisk;
    this.settleMs = options.settleMs ?? SETTLE_MS;
    this.damage = damage;
  }

  /** Fires when this process is to end for another executable. */
  get replacing(): AbortSignal {
    return this.#replacing.signal;
  }

  async #begin(): Promise<void> {
    const { own, clock, log } = this.#options;
    const found = await findUpgrade({ ...this, log, version: own.version });
    if (found === 'restart') this.#leaveFor('restored', 'the version before is in its place again');
    if (found !== 'settle') return;
    this.#state = 'settling';
    const { release, starts } = this.journal.current ?? {};
    log.info(
      { version: release?.version, starts },
      'this is a new version: it stays if the server welcomes it in time',
    );
    this.#timer = clock.setTimeout(() => void this.#giveUp(), this.settleMs);
  }

  /** The server has welcomed this process: if it is a new version it stays. Never rejects: what fails is tried again. */
  async settle(): Promise<void> {
    const { current } = this.journal;
    if (this.#state !== 'settling' || current === undefined) return;
    const { log } = this.#options;
    this.#state = 'serving';
    try {
      await this.journal.settled(current);
      this.#timer?.cancel();
      log.info({ version: current.release.version }, 'the new version has settled');
    } catch (error) {
      this.#state = 'settling';
      log.error({ err: error }, 'that the new version has settled cannot be written down; trying again');
      this.#options.clock.setTimeout(() => void this.settle(), SETTLE_RETRY_MS);
      return;
    }
    // What is left over now is removed at the next start.
    const tidy = async () => {
      await removeBeside(this.paths, this.disk);
      await this.journal.clear();
    };
    await tidy().catch((err: unknown) => log.warn({ err }, 'the executable before cannot be removed'));
  }

  /** A new executable stands in the place of this one's, and this process is to make way for it. */
  swapped(version: string): void {
    this.#leaveFor('swapped', `the agent is being replaced by version ${version}`);
  }

  async #giveUp(): Promise<void> {
    if (this.#state !== 'settling') return;
    const { log } = this.#options;
    const seconds = Math.round(this.settleMs / 1000);
    log.error({ seconds }, 'this new version was not welcomed in time: the one before comes back');
    try {
      await this.#putBack(unsettled(`no server welcomed it within ${seconds} s`));
      this.#leaveFor('restored', 'the agent goes back to the version before');
    } catch (error) {
      log.error({ err: error }, 'the version before cannot be put back');
    }
  }

  async #putBack(failure: UpgradeFailure): Promise<void> {
    const { journal, paths, disk } = this;
    await putBack({ journal, paths, disk, log: this.#options.log }, failure);
  }

  #leaveFor(state: State, why: string): void {
    this.#state = state;
    this.#timer?.cancel();
    this.#replacing.abort(new FairleadError('SHUTDOWN', why));
  }

  /**
   * Calls `force` if this process has not made way by itself some time after it was to. @returns what calls that off
   */
  insist(force: () => void): () => void {
    const { clock } = this.#options;
    let timer: Timer | undefined;
    const arm = () => {
      timer = clock.setTimeout(force, REPLACE_LIMIT_MS);
    };
    if (this.replacing.aborted) arm();
    else this.replacing.addEventListener('abort', arm, { once: true });
    return () => {
      this.replacing.removeEventListener('abort', arm);
      timer?.cancel();
    };
  }

  /**
   * Nothing of this process serves any more. An upgrade that has not settled is taken back, unless this is its way.
   * @param end why it ends
   * @param isStopped whether somebody wants that no agent runs
   * @returns whether what stands at its executable is to take its place
   */
  async conclude(end: string, isStopped: boolean): Promise<boolean> {
    this.#timer?.cancel();
    switch (this.#state) {
      case 'serving':
        return false;
      case 'restored':
        break;
      case 'swapped':
        if (isStopped) await this.#putBack(STOPPED);
        break;
      case 'settling':
        await this.#putBack(isStopped ? STOPPED : unsettled(`it ended: ${end}`));
    }
    return !isStopped;
  }

  /** The new executable cannot be started: the one before comes back. */
  async undo(error: unknown): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error);
    this.#options.log.error({ err: error }, 'the new executable cannot be started: the one before comes back');
    await this.#putBack(unsettled(`it cannot be started: ${reason}`));
  }
}
