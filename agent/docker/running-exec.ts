/** The process behind an exec that was started, whoever started it: whether it runs, what it ended with, and its end. */

import { type DockerCall, dockerPath } from '../../shared/docker/call.ts';
import { asObject, type DockerObject } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import type { DockerEngine } from './engine.ts';
import { type ExecProcess, endProcess } from './exec-process.ts';

/** How long Docker may take to start the process; it hands over the connection before. */
const START_MS = 10_000;
/** Time for a call that stands between a client that leaves and the end of its work. */
export const END_CALL_MS = 500;
/** How long it may take to find a process that is to be ended. */
const FOUND_MS = 3_000;
/** How often Docker is asked for what it will know in a moment: often at first. */
export const POLL_FIRST_MS = 5;
const POLL_START_MAX_MS = 100;
/** Stands for the id that Docker has yet to give. */
export const ANY_ID = '0'.repeat(64);

export interface ExecState {
  readonly running: boolean;
  /** null: not known yet. */
  readonly exitCode: number | null;
  readonly pid: number;
  readonly containerId: string;
  readonly tty: boolean;
}

/** What it takes to follow an exec and to end it. `container` is any that it may run in. */
export function callsToFollow(container: string): Pick<DockerCall, 'method' | 'path'>[] {
  return [
    { method: 'GET', path: dockerPath`/exec/${ANY_ID}/json` },
    { method: 'GET', path: dockerPath`/containers/${container}/json` },
  ];
}

export class RunningExec {
  readonly id: string;
  readonly #docker: DockerEngine;
  /** Found right after the start, so that the process can be ended also when Docker no longer answers. */
  readonly #process: Promise<ExecProcess | undefined>;

  /**
   * Follows an exec that Docker has just been told to start.
   * @param isKept whether the next agent is to end it if this one does not come to that
   */
  constructor(docker: DockerEngine, id: string, { isKept = true }: { isKept?: boolean } = {}) {
    this.#docker = docker;
    this.id = id;
    if (isKept) docker.execs?.begun(id);
    this.#process = this.#findProcess();
  }

  /** Says that its process has ended, or goes on by itself from here on. Idempotent. */
  over(): void {
    this.#docker.execs?.over(this.id);
  }

  /** @throws FairleadError STREAM_INTERRUPTED when Docker no longer knows it */
  async inspect(call: { signal?: AbortSignal; timeoutMs?: number }): Promise<ExecState> {
    try {
      const path = dockerPath`/exec/${this.id}/json`;
      const state = execState(asObject(await this.#docker.json({ method: 'GET', path, ...call })));
      if (!state.running && state.exitCode !== null) this.over();
      return state;
    } catch (error) {
      if (!isFairleadError(error, 'NOT_FOUND') && !isFairleadError(error, 'CONTAINER_NOT_FOUND')) throw error;
      this.over();
      const why = 'Docker no longer knows the exec: it was restarted, or the container is gone';
      throw new FairleadError('STREAM_INTERRUPTED', why, { cause: error });
    }
  }

  /** Whether it has ended. Takes half a second at most. */
  async isGone(): Promise<boolean> {
    const { running, exitCode } = await this.inspect({ timeoutMs: END_CALL_MS });
    return !running && exitCode !== null;
  }

  /**
   * Ends the process: within a second, or a few where Docker is about to start it.
   * @returns false when it could not be ended: it lives on in its container
   */
  async end(): Promise<boolean> {
    try {
      const process = await Promise.race([this.#process, sleep(FOUND_MS, this.#docker.clock)]);
      if (process !== undefined && (await endProcess(process, this.#docker.clock))) {
        this.over();
        return true;
      }
      const { running, exitCode, pid } = await this.inspect({ timeoutMs: END_CALL_MS });
      return !running && (exitCode !== null || pid === 0);
    } catch (error) {
      if (isFairleadError(error)) return false;
      throw error;
    }
  }

  /** The exec's process, or undefined when it has ended or is not to be found. Never rejects. */
  async #findProcess(): Promise<ExecProcess | undefined> {
    try {
      let wait = POLL_FIRST_MS;
      for (let waited = 0; waited < START_MS; waited += wait, wait = Math.min(2 * wait, POLL_START_MAX_MS)) {
        const { running, exitCode, pid, containerId } = await this.inspect({});
        if (!running && exitCode !== null) return undefined;
        if (pid > 0) return { pid, containerId, containerPid: await this.#containerPid(containerId) };
        await sleep(wait, this.#docker.clock);
      }
      return undefined;
    } catch {
      // The exec itself meets the same failure, and reports it.
      return undefined;
    }
  }

  async #containerPid(containerId: string): Promise<number> {
    const path = dockerPath`/containers/${containerId}/json`;
    const container = asObject(await this.#docker.json({ method: 'GET', path }));
    return Number(asObject(container['State'])['Pid']);
  }
}

function execState({ Running, ExitCode, Pid, ContainerID, ProcessConfig }: DockerObject): ExecState {
  return {
    running: Running === true,
    exitCode: typeof ExitCode === 'number' ? ExitCode : null,
    pid: typeof Pid === 'number' ? Pid : 0,
    containerId: typeof ContainerID === 'string' ? ContainerID : '',
    tty: (ProcessConfig as { tty?: unknown } | undefined)?.tty === true,
  };
}
