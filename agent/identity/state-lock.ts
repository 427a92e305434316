/** run.json: which process works in a state directory, and in what state; one at a time. */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { DockerState } from '../../shared/messages/control.ts';
import { fits } from '../../shared/validate.ts';
import { VERSION } from '../../shared/version.ts';
import { stateError } from './state-dir.ts';

const RunState = Type.Union([
  Type.Literal('enrolling'),
  Type.Literal('connecting'),
  Type.Literal('online'),
  Type.Literal('waiting'),
  Type.Literal('recovering'),
  Type.Literal('stopping'),
  Type.Literal('restoring'),
]);
export type RunState = Static<typeof RunState>;

/** The proxy that an agent goes out by. */
const ProxyNote = Type.Object({
  /** Without user and password. */
  url: Type.String(),
  /** As NO_PROXY has it. */
  noProxy: Type.Optional(Type.String()),
});
export type ProxyNote = Static<typeof ProxyNote>;

/** Which releases an agent takes. */
export const TakenReleases = Type.Object({
  /** The ids of the keys that one may be signed by. */
  keys: Type.Array(Type.String()),
  /** Why the agent cannot replace itself by any; absent: it can. */
  inability: Type.Optional(Type.String()),
});
export type TakenReleases = Static<typeof TakenReleases>;

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
  /** Of the agent; absent in those of versions that did not say it. */
  version: Type.Optional(Type.String()),
  /** As the agent knows it now; absent until it has asked. */
  docker: Type.Optional(DockerState),
  /** When the certificate is renewed next, RFC 3339. */
  renewsAt: Type.Optional(Type.String()),
  /** Where it asks Docker, as --docker takes it; absent in those of versions that did not say it. */
  dockerAddress: Type.Optional(Type.String()),
  /** Absent: it dials directly, if `dockerAddress` is there. */
  proxy: Type.Optional(ProxyNote),
  releases: Type.Optional(TakenReleases),
});
export type RunRecord = Static<typeof RunRecord>;

/** What a process says of itself beside its state. */
export type RunNotes = Pick<RunRecord, 'docker' | 'renewsAt' | 'dockerAddress' | 'proxy' | 'releases'>;

/** What tells one process from all others. */
export type ProcessMark = Pick<RunRecord, 'pid' | 'start'>;

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
  #current: Pick<RunRecord, 'state' | 'since' | 'detail'>;
  #notes: RunNotes = {};
  #released = false;

  private constructor(path: string, state: RunState, log: Logger, now: () => number) {
    this.#path = path;
    this.#log = log;
    this.#now = now;
    this.#current = this.#since(state);
  }

  /** Takes hold of `stateDir`. @throws FairleadError CONFLICT when another living process holds it */
  static claim(stateDir: string, state: RunState, deps: { log: Logger; now: () => number }): StateLock {
    const path = join(stateDir, NAME);
    const lock = new StateLock(path, state, deps.log, deps.now);
    // Two rounds: the second one after a record left behind by a dead process was put away.
    for (let round = 0; round < 2; round += 1) {
      try {
        if (publish(path, lock.#record(), linkSync)) return lock;
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
    this.#current = this.#since(state, detail);
    this.#publish();
  }

  /** Says more of what it does, in the same state. */
  note(notes: RunNotes): void {
    this.#notes = { ...this.#notes, ...notes };
    this.#publish();
  }

  #publish(): void {
    if (this.#released) return;
    try {
      publish(this.#path, this.#record(), renameSync);
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

  #since(state: RunState, detail?: string): Pick<RunRecord, 'state' | 'since' | 'detail'> {
    const since = new Date(this.#now()).toISOString();
    return { state, since, ...(detail === undefined ? {} : { detail }) };
  }

  #record(): RunRecord {
    return { ...markOf(process.pid), version: VERSION, ...this.#current, ...this.#notes };
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
    throw stateError(dirname(path), 'cannot be read', error);
  }
}

/** The mark of a process that runs. */
export function markOf(pid: number): ProcessMark {
  const start = startOf(pid);
  return { pid, ...(start === undefined ? {} : { start }) };
}

export function isAlive(record: ProcessMark): boolean {
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
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // It has ended, and only its parent has not asked how.
    if (fields[0] === 'Z') return undefined;
    const ticks = fields[19];
    return ticks === undefined ? undefined : `${boot}:${ticks}`;
  } catch {
    // No /proc, or no such process: then the pid alone has to do.
    return undefined;
  }
}
