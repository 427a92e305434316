/** One exec in a container, from its creation to the end of its process. */
import type { Socket } from 'node:net';
import { type DockerCall, dockerPath } from '../../shared/docker/call.ts';
import { outliveStdin } from '../../shared/docker/connection.ts';
import { asObject, type DockerObject } from '../../shared/docker/json.ts';
import { FairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import type { DockerEngine } from './engine.ts';
import { ANY_ID, callsToFollow, END_CALL_MS, POLL_FIRST_MS, RunningExec } from './running-exec.ts';

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

/** How often Docker is asked for the exit code, once the output has ended, at the least. */
const POLL_MAX_MS = 500;
/** How long after a connection broke Docker may say that the process runs, before that counts as an interruption. */
const BROKEN_GRACE_MS = 1_000;
const RESIZE_TRIES = 5;
const RESIZE_RETRY_MS = 20;
/** What a terminal takes for "interrupt" and "end of input". */
const CTRL_C_CTRL_D = Buffer.from([0x03, 0x04]);

/** A started exec. `connection` is its stdin, whose end is stdin's end, and its output. */
export class Exec {
  readonly id: string;
  readonly connection: Socket;
  readonly #docker: DockerEngine;
  readonly #tty: boolean;
  readonly #running: RunningExec;
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
    this.#running = new RunningExec(docker, id);
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
      const { running, exitCode } = await this.#running.inspect({ signal });
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
    const ended = await this.#running.end();
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
        if (await this.#running.isGone()) return;
        // Docker may have announced the process a moment before it has its terminal.
        if (tries >= RESIZE_TRIES) throw error;
        this.#wantedSize ??= { rows, cols };
        await sleep(RESIZE_RETRY_MS, this.#docker.clock);
      }
    }
  }
}

/** All that it takes to begin an exec, to follow it and to end it: a host that denies one of these has no exec at all. */
function callsOf(container: string): Pick<DockerCall, 'method' | 'path'>[] {
  return [
    { method: 'POST', path: dockerPath`/containers/${container}/exec` },
    { method: 'POST', path: dockerPath`/exec/${ANY_ID}/start` },
    ...callsToFollow(container),
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
