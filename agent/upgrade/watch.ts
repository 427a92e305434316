/**
 * The watcher: the old executable, in a process of its own, while the new one has not settled. If that dies, or hangs, the
 * watcher puts the old one back. It ends by itself whatever happens.
 */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import { isAlive, type ProcessMark, readRun, StateLock } from '../identity/state-lock.ts';
import { pathsFor, type UpgradeDisk } from './files.ts';
import { type UpgradeFailure, UpgradeJournal } from './journal.ts';
import { WATCH_END_MS, WATCH_MARGIN_MS } from './limits.ts';
import { unsettled } from './start.ts';
import { putBack, swapState } from './swap.ts';

const LOOK_MS = 250;
/** For one that is told to stop, together with what it watches. */
const LAST_LOOKS_MS = 8_000;
/** How long a killed process may take to be gone. */
const GONE_MS = 5_000;

export interface WatchOptions {
  readonly stateDir: string;
  readonly executable: string;
  /** The release that is to settle. */
  readonly sequence: number;
  /** The agent: its new image has the same. */
  readonly agent: ProcessMark;
  /** From now on. */
  readonly settleMs: number;
  readonly disk: UpgradeDisk;
  readonly clock: Clock;
  readonly log: Logger;
  readonly kill: (pid: number) => void;
}

/** How a watch ends. `restored`: the old executable is back, and nobody serves. */
export type Watched = 'settled' | 'restored' | 'given-up';

/** @param stop fires when the watcher itself is told to stop. Never waits longer than the deadline and a minute */
export async function watch(options: WatchOptions, stop: AbortSignal): Promise<Watched> {
  const { clock, settleMs } = options;
  const startedAt = clock.monotonic();
  const deadlineMs = settleMs + Math.min(settleMs, WATCH_MARGIN_MS);
  let stoppedAt: number | undefined;
  for (;;) {
    if (!(await isUnsettled(options))) return 'settled';
    const passedMs = clock.monotonic() - startedAt;
    if (stop.aborted) stoppedAt ??= passedMs;
    if (!isAlive(options.agent)) {
      // One that was only stopped has put the old version back by itself. Whoever supervises the agent may end the watcher
      // because the agent has crashed, so that being told to stop says nothing.
      if (await restore(options, unsettled('it ended before it had settled'))) return 'restored';
    } else if (passedMs > deadlineMs) {
      if (await restore(options, unsettled('it hung'))) return 'restored';
    }
    if (passedMs > deadlineMs + WATCH_END_MS) return 'given-up';
    if (stoppedAt !== undefined && passedMs - stoppedAt > LAST_LOOKS_MS) return 'given-up';
    await sleep(LOOK_MS, clock);
  }
}

/** Whether the release is still on its way: the new executable writes down when it has settled, or was put back. */
async function isUnsettled(options: WatchOptions): Promise<boolean> {
  const { current } = await journalOf(options);
  if (current?.release.sequence !== options.sequence) return false;
  if (current.step !== 'settling') return false;
  return (await swapState(pathsFor(options.executable))) === 'done';
}

async function journalOf({ stateDir, disk, clock }: WatchOptions): Promise<UpgradeJournal> {
  return await UpgradeJournal.load(stateDir, { disk, now: () => clock.now() });
}

/** @returns whether the old executable is back; else it is to be looked at again */
async function restore(options: WatchOptions, failure: UpgradeFailure): Promise<boolean> {
  const { stateDir, executable, disk, clock, log } = options;
  await end(options.agent, options);
  // Whoever supervises the agent may have started the new one again meanwhile.
  const holder = readRun(stateDir);
  if (holder !== undefined) await end(holder, options);
  let lock: StateLock;
  try {
    lock = StateLock.claim(stateDir, 'restoring', { log, now: () => clock.now() });
  } catch (error) {
    if (isFairleadError(error, 'CONFLICT')) return false;
    throw error;
  }
  try {
    const journal = await journalOf(options);
    if (journal.current?.step !== 'settling' || journal.current.release.sequence !== options.sequence) return false;
    await putBack({ journal, paths: pathsFor(executable), disk, log }, failure);
    return true;
  } finally {
    lock.release();
  }
}

async function end(it: ProcessMark, { clock, kill }: WatchOptions): Promise<void> {
  if (!isAlive(it)) return;
  kill(it.pid);
  const until = clock.monotonic() + GONE_MS;
  while (isAlive(it) && clock.monotonic() < until) await sleep(LOOK_MS / 5, clock);
}
