/** One exec in a container, from its creation to the end of its process. */
import type { Socket } from 'node:net';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import { type DockerCall, type DockerEngine, dockerPath } from './engine.ts';
import { type ExecProcess, endProcess } from './exec-process.ts';
import { asObject, type DockerObject } from './json.ts';

export interface ExecOptions {
  readonly container: string;
  readonly cmd: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly size?: TerminalSize;
  readonly user?: string;
  readonly workdir?: string;
  readonly env?: readonly string[];
}

export interface TerminalSize {
  readonly cols: number;
  readonly rows: number;
}

/** How long Docker may take to start the process; it hands over the connection before. */
const START_MS = 10_000;
/** Time for a call that stands between a client that leaves and the end of its work. */
const END_CALL_MS = 500;
/** How often Docker is asked for what it will know in a moment: often at first. */
const POLL_FIRST_MS = 5;
const POLL_MAX_MS = 500;
/** How long after a connection broke Docker may say that the process runs, before that counts as an interruption. */
const BROKEN_GRACE_MS = 1_000;
const RESIZE_TRIES = 5;
const RESIZE_RETRY_MS = 20;
/** Stands for the id that Docker has yet to give. */
const ANY_ID = '0'.repeat(64);
/** What a terminal takes for "interrupt" and "end of input". */
const CTRL_C_CTRL_D = Buffer.from([0x03, 0x04]);

interface ExecState {
  readonly running: boolean;
  /** null: not known yet. */
  readonly exitCode: number | null;
  readonly pid: number;
  readonly containerId: string;
}

/** A started exec. `connection` is its stdin, whose end is stdin's end, and its output. */
export class Exec {
  readonly id: string;
  readonly connection: Socket;
  readonly #docker: DockerEngine;
  readonly #tty: boolean;
  /** Found right after the start, so that the process can be ended also when Docker no longer answers. */
  readonly #process: Promise<ExecProcess | undefined>;
  #wantedSize: TerminalSize | undefined;
  #resizing: Promise<void> | undefined;

  private constructor(docker: DockerEngine, options: ExecOptions, id: string, connection: Socket) {
    this.#docker = docker;
    this.#tty = options.tty;
    this.id = id;
    this.connection = connection;
    outliveStdin(connection);
    // Whoever reads it asks for `errored`; without a listener a late failure would end the agent.
    connection.on('error', () => undefined);
    this.#process = this.#findProcess();
  }

  /**
   * Creates and starts an exec. `signal` takes it back until it is started, never in the middle of its start, so that
   * nothing runs that nobody knows of: the caller looks at its signal afterwards, and ends the exec if need be.
   * @throws FairleadError CONTAINER_NOT_FOUND, CONFLICT (the container does not run), VALIDATION, DENIED_BY_HOST, …
   */
  static async start(docker: DockerEngine, options: ExecOptions, signal: AbortSignal): Promise<Exec> {
    for (const call of callsOf(options.container)) docker.requirePermitted(call);
    const created = asObject(
      await docker.json({
        method: 'POST',
        path: dockerPath`/containers/${options.container}/exec`,
        body: createBody(options),
        signal,
      }),
    );
    const id = created['Id'];
    if (typeof id !== 'string') throw new FairleadError('DOCKER_ERROR', 'Docker made an exec without an id');
    const size = options.tty && options.size ? { ConsoleSize: [options.size.rows, options.size.cols] } : {};
    const connection = await docker.hijack({
      method: 'POST',
      path: dockerPath`/exec/${id}/start`,
      body: { Detach: false, Tty: options.tty, ...size },
    });
    return new Exec(docker, options, id, connection);
  }

  /**
   * Sets the terminal's size. Of sizes that come while one is being set only the last is set. Without effect once the
   * process has ended.
   * @throws FairleadError
   */
  resize(size: TerminalSize): Promise<void> {
    this.#wantedSize = size;
    this.#resizing ??= this.#resizeToWanted().finally(() => {
      this.#resizing = undefined;
    });
    return this.#resizing;
  }

  /**
   * The exit code, once the process has ended; to be asked for when the output has.
   * @param broken the connection did not end, it broke: a process that still runs is out of reach then
   * @throws FairleadError STREAM_INTERRUPTED when Docker no longer knows the exec; the signal's reason
   */
  async exitCode(signal: AbortSignal, broken: boolean): Promise<number> {
    let waited = 0;
    for (let wait = POLL_FIRST_MS; ; wait = Math.min(2 * wait, POLL_MAX_MS)) {
      const { running, exitCode } = await this.#inspect({ signal });
      if (!running && exitCode !== null) return exitCode;
      if (broken && waited >= BROKEN_GRACE_MS) {
        throw new FairleadError('STREAM_INTERRUPTED', 'Docker broke off the connection to the exec');
      }
      await sleep(wait, this.#docker.clock, signal);
      waited += wait;
    }
  }

  /**
   * Closes the connection and ends the process with it, within a second.
   * @returns false when the process could not be ended: it lives on in its container
   */
  async end(): Promise<boolean> {
    const ended = await this.#endProcess();
    if (ended) {
      this.connection.destroy();
      return true;
    }
    // All that is left to do: the process reads the end of its stdin, and in a terminal an interrupt before it.
    if (this.#tty && this.connection.writable) this.connection.write(CTRL_C_CTRL_D);
    this.connection.end();
    this.#docker.clock.setTimeout(() => this.connection.destroy(), END_CALL_MS);
    return false;
  }

  async #resizeToWanted(): Promise<void> {
    for (let tries = 1; this.#wantedSize !== undefined; tries++) {
      const { rows, cols } = this.#wantedSize;
      this.#wantedSize = undefined;
      const path = dockerPath`/exec/${this.id}/resize`;
      try {
        await this.#docker.act({ method: 'POST', path, query: { h: rows, w: cols } });
        tries = 0;
      } catch (error) {
        if (await this.#isGone()) return;
        // Docker may have announced the process a moment before it has its terminal.
        if (tries >= RESIZE_TRIES) throw error;
        this.#wantedSize ??= { rows, cols };
        await sleep(RESIZE_RETRY_MS, this.#docker.clock);
      }
    }
  }

  async #endProcess(): Promise<boolean> {
    try {
      const process = await this.#process;
      if (process !== undefined && (await endProcess(process, this.#docker.clock))) return true;
      return await this.#isGone();
    } catch (error) {
      if (isFairleadError(error)) return false;
      throw error;
    }
  }

  async #isGone(): Promise<boolean> {
    const { running, exitCode } = await this.#inspect({ timeoutMs: END_CALL_MS });
    return !running && exitCode !== null;
  }

  /** The exec's process, or undefined when it has ended or is not to be found. Never rejects. */
  async #findProcess(): Promise<ExecProcess | undefined> {
    try {
      for (let waited = 0, wait = POLL_FIRST_MS; waited < START_MS; waited += wait, wait = Math.min(2 * wait, 100)) {
        const { running, exitCode, pid, containerId } = await this.#inspect({});
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

  async #inspect(call: { signal?: AbortSignal; timeoutMs?: number }): Promise<ExecState> {
    try {
      const path = dockerPath`/exec/${this.id}/json`;
      return execState(asObject(await this.#docker.json({ method: 'GET', path, ...call })));
    } catch (error) {
      if (!isFairleadError(error, 'NOT_FOUND') && !isFairleadError(error, 'CONTAINER_NOT_FOUND')) throw error;
      const why = 'Docker no longer knows the exec: it was restarted, or the container is gone';
      throw new FairleadError('STREAM_INTERRUPTED', why, { cause: error });
    }
  }
}

/** All that it takes to begin an exec, to follow it and to end it: a host that denies one of these has no exec at all. */
function callsOf(container: string): Pick<DockerCall, 'method' | 'path'>[] {
  return [
    { method: 'POST', path: dockerPath`/containers/${container}/exec` },
    { method: 'POST', path: dockerPath`/exec/${ANY_ID}/start` },
    { method: 'GET', path: dockerPath`/exec/${ANY_ID}/json` },
    { method: 'GET', path: dockerPath`/containers/${container}/json` },
  ];
}

function createBody(options: ExecOptions): DockerObject {
  return {
    AttachStdin: options.stdin,
    AttachStdout: true,
    AttachStderr: true,
    Tty: options.tty,
    Cmd: options.cmd,
    ...(options.user === undefined ? {} : { User: options.user }),
    ...(options.workdir === undefined ? {} : { WorkingDir: options.workdir }),
    ...(options.env === undefined ? {} : { Env: options.env }),
  };
}

function execState({ Running, ExitCode, Pid, ContainerID }: DockerObject): ExecState {
  return {
    running: Running === true,
    exitCode: typeof ExitCode === 'number' ? ExitCode : null,
    pid: typeof Pid === 'number' ? Pid : 0,
    containerId: typeof ContainerID === 'string' ? ContainerID : '',
  };
}

/**
 * Lets the output be read to its end although stdin can no longer be written: a process such as `head` ends before its
 * input does, and Node destroys a socket whose write fails, with all that is still to be read from it.
 */
function outliveStdin(connection: Socket): void {
  type Done = (error?: Error | null) => void;
  const write = connection._write.bind(connection);
  const writev = connection._writev?.bind(connection);
  const unlessClosed =
    (done: Done): Done =>
    (error) =>
      done(isClosedByPeer(error) ? null : error);
  connection._write = (chunk, encoding, done) => write(chunk, encoding, unlessClosed(done));
  if (writev) connection._writev = (chunks, done) => writev(chunks, unlessClosed(done));
}

/** Whether `error` is what a connection fails with once its other end has closed it. */
export function isClosedByPeer(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'ECONNRESET');
}
