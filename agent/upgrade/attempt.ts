/** One release on its way to this host: fetched, tried and put in place. What fails leaves the agent as it was. */
import type { Logger } from 'pino';
import { Backoff } from '../../shared/backoff.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { MAX_REASON_CHARS } from '../../shared/limits.ts';
import type { AgentUpgradeStatus } from '../../shared/messages/release.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import { sleep } from '../../shared/sleep.ts';
import { download, ofDisk } from './download.ts';
import { bytesOf } from './files.ts';
import type { CurrentUpgrade, UpgradeFailure } from './journal.ts';
import {
  MAX_ATTEMPTS,
  MAX_TRIALS,
  PROGRESS_MS,
  RETRY_MAX_MS,
  RETRY_MIN_MS,
  SERVER_THERE_MS,
  TRIAL_MS,
  WORTHWHILE_BYTES,
} from './limits.ts';
import type { OwnProcess } from './own-process.ts';
import type { Replacement } from './replacement.ts';
import { isStillWished } from './still-wished.ts';
import { putBack, removeBeside, swap } from './swap.ts';
import { runTrial } from './trial.ts';
import { unpack } from './unpack.ts';
import { startWatcher } from './watcher-process.ts';

/** Failures of a download that pass. */
const PASSING: ReadonlySet<string> = new Set(['OVERLOADED', 'RATE_LIMITED', 'STREAM_INTERRUPTED', 'TIMEOUT']);

export interface AttemptOptions {
  readonly own: OwnProcess;
  readonly stateDir: string;
  readonly replacement: Replacement;
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly dockerAnswers: () => boolean;
  /** Keeps the certificate as it is, until the returned function is called: two processes connect by it meanwhile. */
  readonly holdRenewals: () => Promise<() => void>;
  readonly trialMs?: number;
}

/** How far it has come, as the server is told. */
export type Progress = Omit<AgentUpgradeStatus, 'sequence' | 'version'>;

/** Over which session, and who is told. */
export interface AttemptLink {
  readonly session: Pick<Session, 'open' | 'ping'>;
  /** Fires when the session ends. */
  readonly ended: AbortSignal;
  readonly report: (progress: Progress) => void;
}

export class Attempt {
  readonly release: SignedRelease;
  readonly #link: AttemptLink;
  readonly #options: AttemptOptions;
  readonly #replaced = new AbortController();
  readonly #signal: AbortSignal;
  #progress: Progress = { state: 'downloading' };
  /** Whether what failed says nothing of the release. */
  #isInterrupted = false;
  /** Whether the server took its wish back while the release was being tried. */
  #isWithdrawn = false;
  #hasFetched = false;
  #isSpoiled = false;

  constructor(release: SignedRelease, link: AttemptLink, options: AttemptOptions) {
    this.release = release;
    this.#link = link;
    this.#options = options;
    this.#signal = AbortSignal.any([link.ended, this.#replaced.signal]);
  }

  get progress(): Progress {
    return this.#progress;
  }

  /** Whether the executable came as it was signed. */
  get hasFetched(): boolean {
    return this.#hasFetched;
  }

  /** Whether what came, now or over an earlier session, was not what was signed. */
  get isSpoiled(): boolean {
    return this.#isSpoiled;
  }

  /** Makes way for another release. Only a download is given up like that. */
  giveUp(): void {
    this.#replaced.abort(new FairleadError('CANCELLED', 'another release is wished'));
  }

  /** Never rejects: what fails is told, and the agent serves on. */
  async run(): Promise<void> {
    const { version, sequence, bytes } = this.release;
    this.#options.log.info({ version, sequence, bytes }, 'an upgrade begins');
    try {
      await this.#prepare();
      await this.#fetch();
      await this.#try();
      await this.#replace();
    } catch (error) {
      await this.#failed(error);
    }
  }

  #report(progress: Progress): void {
    this.#progress = progress;
    this.#link.report(progress);
  }

  get #trials(): number {
    return this.#options.replacement.journal.current?.trials ?? 0;
  }

  async #step(step: CurrentUpgrade['step'], trials = this.#trials): Promise<void> {
    const { journal, paths } = this.#options.replacement;
    await journal.step(step, { release: this.release, executable: paths.executable, trials, starts: 0 });
  }

  /** What another release has left goes; of this one it stays. */
  async #prepare(): Promise<void> {
    const { journal, paths, disk } = this.#options.replacement;
    const isSame = journal.current?.release.signature === this.release.signature;
    if (!isSame) await removeBeside(paths, disk);
    await this.#step('downloading', isSame ? this.#trials : 0);
    this.#report({ state: 'downloading' });
  }

  /** The executable, as it was signed. If what is there of an earlier attempt does not belong to it, all of it is fetched. */
  async #fetch(): Promise<void> {
    const { replacement, log } = this.#options;
    const { part } = replacement.paths;
    const isResumed = ((await bytesOf(part)) ?? 0) > 0;
    try {
      await this.#fetchOnce();
    } catch (error) {
      if (this.#signal.aborted || !isFairleadError(error, 'RELEASE_INVALID')) throw error;
      this.#isSpoiled = true;
      if (!isResumed) throw error;
      log.warn({ reason: error.message }, 'what was downloaded before does not fit: all of it is downloaded again');
      await replacement.disk.remove(part);
      await this.#fetchOnce();
    }
  }

  async #fetchOnce(): Promise<void> {
    const { part, next } = this.#options.replacement.paths;
    await this.#download(part);
    await this.#step('verifying');
    this.#report({ state: 'verifying' });
    await unpack(part, next, this.release, this.#signal);
    this.#hasFetched = true;
  }

  async #download(part: string): Promise<void> {
    const { replacement, clock, random, log } = this.#options;
    const { disk } = replacement;
    const backoff = new Backoff({ minMs: RETRY_MIN_MS, maxMs: RETRY_MAX_MS, random });
    let reportedAt = clock.monotonic();
    let received = 0;
    const onProgress = (receivedBytes: number, totalBytes: number) => {
      received = receivedBytes;
      this.#progress = { state: 'downloading', receivedBytes, totalBytes };
      if (clock.monotonic() - reportedAt < PROGRESS_MS) return;
      reportedAt = clock.monotonic();
      this.#report(this.#progress);
    };
    const { session } = this.#link;
    const { release } = this;
    for (let attempts = 1; ; attempts += 1) {
      const from = (await bytesOf(part)) ?? 0;
      received = from;
      try {
        return await download({ session, release, part, disk, clock, signal: this.#signal, onProgress });
      } catch (error) {
        const { code, message } = toWireError(error);
        if (this.#signal.aborted || attempts >= MAX_ATTEMPTS || !PASSING.has(code)) throw error;
        // The server may end a read for others that wait: whoever gets on by that is not to give up.
        if (received - from >= WORTHWHILE_BYTES) {
          attempts = 0;
          backoff.reset();
        }
        const delayMs = backoff.nextAtLeastCeiling();
        log.info({ code, reason: message, delayMs }, 'the release is not downloaded yet');
        await sleep(delayMs, clock, this.#signal);
      }
    }
  }

  async #try(): Promise<void> {
    const { own, replacement, dockerAnswers, holdRenewals, clock, trialMs: limitMs = TRIAL_MS } = this.#options;
    const { next } = replacement.paths;
    const { version } = this.release;
    const trials = this.#trials + 1;
    await this.#step('trying', trials);
    this.#report({ state: 'trying' });
    if (trials > MAX_TRIALS) throw new FairleadError('CONFLICT', `each of ${MAX_TRIALS} trials of it was cut short`);
    const goOn = await holdRenewals();
    try {
      await runTrial({ next, version, own, dockerAnswers, clock, signal: this.#signal, limitMs });
    } catch (error) {
      await this.#askServer();
      throw error;
    } finally {
      goOn();
    }
  }

  /** If the server is gone, or does not wish the release any more, its trial could not but fail. */
  async #askServer(): Promise<void> {
    const { clock, replacement } = this.#options;
    const { session } = this.#link;
    try {
      await session.ping({ timeoutMs: SERVER_THERE_MS });
    } catch {
      this.#isInterrupted = true;
      return;
    }
    const { part } = replacement.paths;
    this.#isWithdrawn = !(await isStillWished({ session, release: this.release, part, clock }));
  }

  /** From here on nothing calls it off. */
  async #replace(): Promise<void> {
    const { own, stateDir, replacement, clock, log } = this.#options;
    const { journal, paths, disk, settleMs } = replacement;
    const { version, sequence } = this.release;
    const { current } = journal;
    if (current === undefined) throw new Error('an upgrade without a journal');
    this.#signal.throwIfAborted();
    this.#report({ state: 'restarting' });
    log.info({ version, sequence, from: own.version }, 'the new version works: it takes the place of this one');
    await swap(journal, paths, disk, current);
    const { previous, executable } = paths;
    // In a container of which the agent is the first process, a watcher would end with it, and could not end it.
    if (own.pid !== 1) await startWatcher({ previous, executable, stateDir, sequence, settleMs, own, clock });
    replacement.swapped(version);
  }

  /** Never rejects. */
  async #failed(error: unknown): Promise<void> {
    const { replacement, log } = this.#options;
    const { journal, paths, disk } = replacement;
    const { version, sequence } = this.release;
    const { state } = this.#progress;
    const isSwapping = journal.current?.step === 'settling';
    if (!isSwapping && (this.#link.ended.aborted || this.#isInterrupted)) {
      log.info({ version, step: state }, 'the upgrade is interrupted: it goes on with the next session');
      return;
    }
    try {
      if (this.#replaced.signal.aborted || this.#isWithdrawn) {
        log.info({ version, step: state }, 'this release is not wished any more');
        await removeBeside(paths, disk);
        return await journal.clear();
      }
      const cause = ofDisk(error, paths.executable);
      const { code, message } = toWireError(cause);
      const detail = message.slice(0, MAX_REASON_CHARS);
      log[isFairleadError(cause) ? 'warn' : 'error']({ err: error, version, sequence, code }, 'the upgrade has failed');
      const failure = { code, detail, again: state !== 'trying' };
      await this.#putInOrder(failure);
      this.#report({ state: 'failed', code, detail });
    } catch (err) {
      log.error({ err, version }, 'what is left of the upgrade cannot be removed');
    }
  }

  /** Leaves nothing of the release but that it has failed. Never rejects. */
  async #putInOrder(failure: UpgradeFailure): Promise<void> {
    const { replacement, log } = this.#options;
    const { journal, paths, disk } = replacement;
    try {
      if (journal.current?.step === 'settling') return await putBack({ journal, paths, disk, log }, failure);
      await removeBeside(paths, disk);
      await journal.failed(this.release, failure);
    } catch (err) {
      log.error({ err }, 'what is left of the upgrade cannot be put in order: the next start does so');
    }
  }
}
