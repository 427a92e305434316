/** run.json: which process works in a state directory, and in what state; one at a time. */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { fits } from '../../shared/validate.ts';
import { stateError } from './state-dir.ts';

const RunState = Type.Union([
  Type.Literal('enrolling'),
  Type.Literal('connecting'),
  Type.Literal('online'),
  Type.Literal('waiting'),
  Type.Literal('recovering'),
  Type.Literal('stopping'),
]);
export type RunState = Static<typeof RunState>;

/** The contents of run.json. */
export const RunRecord = Type.Object({
  pid: Type.Integer({ minimum: 1 }),
  /** Tells the process from a later one with the same pid; absent where the system does not say. */
  start: Type.Optional(Type.String()),
  state: RunState,
  /** Since when it is in this state, RFC 3339. */
  since: Type.String(),
  /** Why it waits, or to what it is connected. */
  detail: Type.Optional(Type.String()),
});
export type RunRecord = Static<typeof RunRecord>;

const NAME = 'run.json';
const MODE = 0o600;

/** The record of the process that works in `stateDir` now, or undefined if none does. */
export function readRun(stateDir: string): RunRecord | undefined {
  const record = readRecord(join(stateDir, NAME));
  return record !== undefined && isAlive(record) ? record : undefined;
}

/** The hold of one process on a state directory. All file access is synchronous, so that states land in their order. */
export class StateLock {
  readonly #path: string;
  readonly #log: Logger;
  readonly #now: () => number;
  #released = false;

  private constructor(path: string, log: Logger, now: () => number) {
    this.#path = path;
    this.#log = log;
    this.#now = now;
  }

  /** Takes hold of `stateDir`. @throws FairleadError CONFLICT when another living process holds it */
  static claim(stateDir: string, state: RunState, deps: { log: Logger; now: () => number }): StateLock {
    const path = join(stateDir, NAME);
    const lock = new StateLock(path, deps.log, deps.now);
    // Two rounds: the second one after a record left behind by a dead process was put away.
    for (let round = 0; round < 2; round += 1) {
      try {
        if (publish(path, lock.#record(state), linkSync)) return lock;
      } catch (error) {
        throw stateError(stateDir, 'cannot be written', error);
      }
      const holder = readRecord(path);
      if (holder !== undefined && isAlive(holder)) throw taken(stateDir, holder);
      putAway(path);
    }
    throw new FairleadError('CONFLICT', `another fairlead-agent just started in ${stateDir}`);
  }

  /** Says what the process does now. A failure is logged: the session matters more than its description. */
  update(state: RunState, detail?: string): void {
    if (this.#released) return;
    try {
      publish(this.#path, this.#record(state, detail), renameSync);
    } catch (error) {
      this.#log.warn({ err: error, path: this.#path }, 'the state file cannot be written');
    }
  }

  /** Lets go. Idempotent. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (readRecord(this.#path)?.pid === process.pid) rmSync(this.#path, { force: true });
  }

  #record(state: RunState, detail?: string): RunRecord {
    const start = startOf(process.pid);
    return {
      pid: process.pid,
      ...(start === undefined ? {} : { start }),
      state,
      since: new Date(this.#now()).toISOString(),
      ...(detail === undefined ? {} : { detail }),
    };
  }
}

/** Writes the whole record beside `path`, then puts it in place. @returns false if `place` met a file that is there. */
function publish(path: string, record: RunRecord, place: (from: string, to: string) => void): boolean {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    writeFileSync(temporary, `${JSON.stringify(record)}\n`, { flag: 'wx', mode: MODE });
    place(temporary, path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Removes a dead process's record; if a living one's has just taken its place, that one is put back. */
function putAway(path: string): void {
  const aside = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  }
  const moved = readRecord(aside);
  if (moved !== undefined && isAlive(moved)) renameSync(aside, path);
  else rmSync(aside, { force: true });
}

function taken(stateDir: string, holder: RunRecord): FairleadError {
  return new FairleadError(
    'CONFLICT',
    `another fairlead-agent (pid ${holder.pid}, ${holder.state}) works in ${stateDir}`,
  );
}

/** A record that cannot be read counts as none: only its own process would know what it meant. */
function readRecord(path: string): RunRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return fits(RunRecord, value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && 'code' in error && error.code === 'ENOENT')) {
      return undefined;
    }
    throw stateError(path, 'cannot be read', error);
  }
}

function isAlive(record: RunRecord): boolean {
  try {
    process.kill(record.pid, 0);
  } catch (error) {
    // EPERM: it lives, under another user.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false;
  }
  return record.start === undefined || record.start === startOf(record.pid);
}

/** Boot and start time of a process, where the system tells them (Linux). In a container the same pid comes again. */
function startOf(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command's name stands in parentheses and may hold anything; the start time is the 20th field after it.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return ticks === undefined ? undefined : `${boot}:${ticks}`;
  } catch {
    // No /proc, or no such process: then the pid alone has to do.
    return undefined;
  }
}
