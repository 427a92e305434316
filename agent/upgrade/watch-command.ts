/** `watch`: the process that an agent leaves behind to watch over the version that follows it. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { ProcessMark } from '../identity/state-lock.ts';
import { durableDisk } from './files.ts';
import { isSupervised, type OwnProcess } from './own-process.ts';
import { type Watched, watch } from './watch.ts';
import { launchWatcher, outputPlacesOf, sayWatching, startAgain } from './watcher-process.ts';

export interface WatchCommand {
  readonly stateDir: string;
  readonly executable: string;
  readonly sequence: number;
  readonly agent: ProcessMark;
  readonly settleMs: number;
  /** What the agent is started with. */
  readonly args: readonly string[];
}

export interface WatchDeps {
  readonly own: OwnProcess;
  readonly clock: Clock;
  /** Writes to a file descriptor; undefined: to nowhere. */
  readonly openLog: (fd: number | undefined) => Logger;
  readonly stopSignal: (log: Logger) => AbortSignal;
  readonly kill: (pid: number) => void;
}

/** Starts the watcher as a process of its own, and returns once it watches. @throws FairleadError */
export async function launch({ own }: Pick<WatchDeps, 'own'>): Promise<void> {
  const program = own.executable;
  if (program === undefined) {
    throw new FairleadError('UNSUPPORTED', 'watch is for an agent that runs as one executable');
  }
  const args = own.args.toSpliced(own.args.indexOf('--launch'), 1);
  await launchWatcher(program, args, own.env);
  sayWatching();
}

/** Watches, and if the old version is back and nobody else would, starts it again. */
export async function watchAgent(command: WatchCommand, deps: WatchDeps): Promise<Watched> {
  const { executable, agent, args } = command;
  const { own, clock, openLog, stopSignal, kill } = deps;
  // Now: once it has ended nobody can tell any more.
  const places = outputPlacesOf(agent);
  const log = openLog(places.stderr === 'ignore' ? undefined : places.stderr);
  const stop = stopSignal(log);
  sayWatching();
  const end = await watch({ ...command, disk: durableDisk, clock, log, kill }, stop);
  if (end === 'settled') return end;
  const { sequence } = command;
  log.warn({ sequence, end }, 'the new version has not settled');
  if (end !== 'restored' || stop.aborted || isSupervised(own.env)) return end;
  await startAgain(executable, args, { env: own.env, places });
  log.warn('the version before was started again');
  return end;
}
