/**
 * The execs that run for somebody here, by a file for each: the next agent ends those that one which was killed has left.
 * Nobody else would, as their processes outlive every connection.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { isFairleadError } from '../../shared/errors.ts';
import type { DockerEngine } from './engine.ts';
import { RunningExec } from './running-exec.ts';

/** In the agent's state directory. */
export const EXECS_DIRECTORY = 'execs';
/** More are not kept: far more than run at once. */
const MAX_KEPT = 4_096;
const EXEC_ID = /^[0-9a-f]{64}$/;

type Log = Pick<Logger, 'info' | 'warn'>;

export class LeftExecs {
  readonly #directory: string;
  readonly #log: Log;
  /** What runs now, with the work on its file. */
  readonly #running = new Map<string, Promise<void>>();
  /** What an agent before this one had running. */
  readonly #left: Set<string>;
  #ending: Promise<void> | undefined;

  private constructor(directory: string, left: Set<string>, log: Log) {
    this.#directory = directory;
    this.#left = left;
    this.#log = log;
  }

  /** Finds what an agent before this one has left. A directory that cannot be used is told in the log. Never rejects. */
  static async load(directory: string, log: Log): Promise<LeftExecs> {
    const told = (error: unknown) => {
      log.warn(
        { err: error },
        'execs cannot be kept for an agent after this one: one that is killed leaves them running',
      );
      return [];
    };
    const names = await mkdir(directory, { recursive: true, mode: 0o700 })
      .then(() => readdir(directory))
      .catch(told);
    return new LeftExecs(directory, new Set(names.filter((name) => EXEC_ID.test(name))), log);
  }

  /** Says that an exec has been started, until it is over. */
  begun(id: string): void {
    if (!EXEC_ID.test(id) || this.#running.has(id) || this.#running.size >= MAX_KEPT) return;
    this.#running.set(
      id,
      writeFile(this.#file(id), '', { mode: 0o600 }).catch((error: unknown) => this.#tell(error, id)),
    );
  }

  /** Says that it has ended, or is nobody's to end any more. Idempotent. */
  over(id: string): void {
    const written = this.#running.get(id);
    this.#running.delete(id);
    void written?.then(() => this.#drop(id));
  }

  /** Ends what was left, as far as Docker answers; what is still to be ended is kept. One pass at a time. Never rejects. */
  end(docker: DockerEngine): Promise<void> {
    this.#ending ??= this.#end(docker).finally(() => {
      this.#ending = undefined;
    });
    return this.#ending;
  }

  async #end(docker: DockerEngine): Promise<void> {
    for (const id of [...this.#left]) {
      const state = await this.#endOne(docker, id);
      if (state === 'unknown') return;
      if (state === 'runs')
        this.#log.warn({ exec: id }, 'the process of an exec that an earlier run left cannot be ended');
      if (state === 'ended') this.#log.info({ exec: id }, 'ended the process of an exec that an earlier run had left');
      this.#left.delete(id);
      await this.#drop(id);
    }
  }

  /** @returns `unknown` where Docker does not tell; `gone` if there was nothing to end */
  async #endOne(docker: DockerEngine, id: string): Promise<'ended' | 'gone' | 'runs' | 'unknown'> {
    const exec = new RunningExec(docker, id, { isKept: false });
    try {
      if (!(await exec.inspect({})).running) return 'gone';
    } catch (error) {
      // Docker has forgotten it, or this host now denies it to be looked at.
      if (isFairleadError(error, 'STREAM_INTERRUPTED') || isFairleadError(error, 'DENIED_BY_HOST')) return 'gone';
      if (isFairleadError(error)) return 'unknown';
      throw error;
    }
    return (await exec.end()) ? 'ended' : 'runs';
  }

  async #drop(id: string): Promise<void> {
    await rm(this.#file(id), { force: true }).catch((error: unknown) => this.#tell(error, id));
  }

  #file(id: string): string {
    return join(this.#directory, id);
  }

  #tell(error: unknown, exec: string): void {
    this.#log.warn({ err: error, exec }, 'an exec could not be kept for an agent after this one');
  }
}
