/** One child process of the launcher: started with an IPC channel, so that it ends with the launcher, and stopped in order. */
import { type ChildProcess, spawn } from 'node:child_process';

/** A child drains within 10 s of SIGTERM; beyond that it hangs. */
const STOP_GRACE_MS = 12_000;

export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ChildOptions {
  /** Its name in messages. */
  readonly name: string;
  /** The path of its entry point. */
  readonly script: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Written to its standard input, which then ends. */
  readonly input?: string;
  /** Where its standard output goes: to the launcher's own, nowhere, or, unless given, to standard error, to the logs. */
  readonly output?: 'inherit' | 'ignore';
}

export class Child {
  readonly name: string;
  readonly pid: number | undefined;
  /** Resolves once it has ended; never rejects. */
  readonly exited: Promise<ChildExit>;
  readonly #process: ChildProcess;
  #hasExited = false;

  constructor(options: ChildOptions) {
    this.name = options.name;
    this.#process = spawn(process.execPath, [options.script, ...options.args], {
      env: options.env,
      stdio: ['pipe', options.output ?? 2, 2, 'ipc'],
      // Its own process group: Ctrl-C reaches the launcher alone, which stops its children one after the other.
      detached: true,
    });
    this.pid = this.#process.pid;
    this.exited = new Promise((resolve) => {
      const exited = (exit: ChildExit) => {
        this.#hasExited = true;
        resolve(exit);
      };
      this.#process.once('exit', (code, signal) => exited({ code, signal }));
      this.#process.once('error', () => exited({ code: null, signal: null }));
    });
    // A child that ends before it has read its input says why by its exit code.
    this.#process.stdin?.on('error', () => undefined);
    this.#process.stdin?.end(options.input ?? '');
  }

  /** Sends SIGTERM, after `graceMs` SIGKILL, and waits for the end. Idempotent. */
  async stop(graceMs = STOP_GRACE_MS): Promise<ChildExit> {
    if (!this.#hasExited) this.#process.kill('SIGTERM');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), graceMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  /** Ends it at once. */
  kill(): void {
    if (!this.#hasExited) this.#process.kill('SIGKILL');
  }
}

/** How a child ended, for people. */
export function describeExit(name: string, { code, signal }: ChildExit): string {
  if (signal !== null) return `${name} was ended by ${signal}`;
  return code === null ? `${name} could not be started` : `${name} ended with exit code ${code}`;
}
