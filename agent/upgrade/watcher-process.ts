/** The watcher's process: how an agent has one started that is not its child, and what it does once its watch has ended. */
import { spawn } from 'node:child_process';
import { openSync, readlinkSync, statSync } from 'node:fs';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { markOf, type ProcessMark } from '../identity/state-lock.ts';
import { runChild } from '../stacks/child.ts';
import type { OwnProcess } from './own-process.ts';

/** What a watcher says once it watches. */
const WATCHING = 'watching\n';
const START_MS = 10_000;
const MAX_OUTPUT_CHARS = 1024;

export interface WatcherOptions {
  /** The executable that watches: the old one, where it stands now. */
  readonly previous: string;
  readonly executable: string;
  readonly stateDir: string;
  readonly sequence: number;
  readonly settleMs: number;
  readonly own: OwnProcess;
  readonly clock: Clock;
}

/**
 * Starts a watcher of this process. It is nobody's child once this resolves: the agent that follows could not tell that one
 * of its own had ended.
 * @throws FairleadError CONFLICT
 */
export async function startWatcher(options: WatcherOptions): Promise<void> {
  const { previous, executable, stateDir, sequence, settleMs, own, clock } = options;
  const { pid, start } = markOf(own.pid);
  const args = [
    ...['watch', '--launch', '--state-dir', stateDir, '--executable', executable, '--sequence', String(sequence)],
    ...['--pid', String(pid), ...(start === undefined ? [] : ['--start', start]), '--settle-ms', String(settleMs)],
    ...['--', ...own.args],
  ];
  const late = new AbortController();
  const timer = clock.setTimeout(() => late.abort(noWatcher(`it did not begin within ${START_MS / 1000} s`)), START_MS);
  try {
    const env = own.env as Record<string, string>;
    const spec = { program: previous, args, env, cwd: process.cwd(), maxOutputChars: MAX_OUTPUT_CHARS, clock };
    const { code, output } = await runChild({ ...spec, onLine: () => undefined, signal: late.signal });
    if (code !== 0 || output !== WATCHING) throw noWatcher(`it ended with ${code ?? 'a signal'}`);
  } catch (error) {
    throw error instanceof FairleadError ? error : noWatcher(String(error), error);
  } finally {
    timer.cancel();
  }
}

function noWatcher(why: string, cause?: unknown): FairleadError {
  return new FairleadError('CONFLICT', `nobody watches over the new version: ${why}`, { cause });
}

/** Starts the watcher itself, in a session of its own and without any file of the agent's, and waits until it watches. */
export async function launchWatcher(program: string, args: readonly string[], env: OwnProcess['env']): Promise<void> {
  const watcher = spawn(program, args, { detached: true, stdio: ['ignore', 'pipe', 'ignore'], env: { ...env } });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let said = '';
  watcher.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (said === WATCHING) resolve();
    else if (!WATCHING.startsWith(said)) reject(noWatcher('it says something else'));
  });
  watcher.once('error', reject);
  watcher.once('exit', (code) => reject(noWatcher(`it ended with ${code ?? 'a signal'}`)));
  await promise;
  watcher.stdout.destroy();
  watcher.unref();
}

/** Says to whoever has started this process that it watches. */
export function sayWatching(): void {
  process.stdout.write(WATCHING);
}

/** Where the agent's output goes, as far as another process can write there too: files and devices, not pipes and sockets. */
export interface OutputPlaces {
  readonly stdout: number | 'ignore';
  readonly stderr: number | 'ignore';
}

export function outputPlacesOf({ pid }: ProcessMark): OutputPlaces {
  return { stdout: openPlace(pid, 1), stderr: openPlace(pid, 2) };
}

function openPlace(pid: number, fd: number): number | 'ignore' {
  try {
    const path = readlinkSync(`/proc/${pid}/fd/${fd}`);
    const place = statSync(path);
    return place.isFile() || place.isCharacterDevice() ? openSync(path, 'a') : 'ignore';
  } catch {
    // A pipe or a socket, or a file that is gone: nobody would read it.
    return 'ignore';
  }
}

/** Starts an agent again that nobody else would start. */
export function startAgain(
  executable: string,
  args: readonly string[],
  { env, places }: { env: OwnProcess['env']; places: OutputPlaces },
): Promise<void> {
  const stdio: ('ignore' | number)[] = ['ignore', places.stdout, places.stderr];
  const agent = spawn(executable, args, { detached: true, stdio, env: { ...env } });
  return new Promise((resolve, reject) => {
    agent.once('error', reject);
    agent.once('spawn', () => {
      agent.unref();
      resolve();
    });
  });
}
