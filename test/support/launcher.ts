/** Starts real programs for tests, keeps what they say, and leaves none of them running. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { FIRST_KEY, KEYS_OF_EACH } from './ready-rsa-keys.ts';
import { type Cleanup, defer } from './tmp.ts';
import { PATIENT_MS, waitFor, within } from './wait.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export type Program = 'server' | 'agent' | 'cli';

const SOURCES: Record<Program, string> = {
  server: 'server/main.ts',
  agent: 'agent/main.ts',
  cli: 'server/cli/main.ts',
};
/** Set when all tests are run: bundles start in half the time. A single file is run with the sources as they are. */
const BUNDLES = 'FAIRLEAD_TEST_BUNDLES';

/** Loaded before a server. */
const READY_KEYS = ['--import', new URL('ready-rsa-keys.ts', import.meta.url).href];
let firstKey = 0;

/** Which of the keys that were made beforehand the next server takes; when all are taken it makes its own. */
function nextKeys(): Record<string, string> {
  const first = firstKey;
  firstKey += KEYS_OF_EACH;
  return { [FIRST_KEY]: String(first) };
}

/** Has programs run from their sources from now on: what is measured is then what people run. */
export function runSources(): void {
  delete process.env[BUNDLES];
}

/** What a program is run from. @param build the root of another build than this one */
export function entryOf(program: Program, build?: string): string {
  if (build !== undefined) return join(build, `dist/${program}.mjs`);
  return ROOT + (process.env[BUNDLES] ? `dist/${program}.mjs` : SOURCES[program]);
}

/** How a program ended. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface LaunchOptions {
  /** Added to this process's environment, from which everything that starts with FAIRLEAD_ is taken out. */
  env?: Record<string, string>;
  cwd?: string;
  /** The folder of another build of Fairlead, whose bundles are run in place of this one's programs. */
  build?: string | undefined;
  /** Written to stdin, which is then closed. Absent: stdin stays open. */
  input?: string;
}

/** The most output that is kept per stream; what is older is dropped. */
const MAX_KEPT_CHARS = 4 * 1024 * 1024;
const running = new Set<Launched>();

// A test file that ends early must not leave programs behind.
process.on('exit', () => {
  for (const launched of running) launched.signal('SIGKILL');
});

/** One running program. */
export class Launched {
  readonly name: string;
  readonly exited: Promise<Exit>;
  stdout = '';
  stderr = '';
  exit: Exit | undefined;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;

  constructor(name: string, command: string, args: readonly string[], options: LaunchOptions) {
    this.name = name;
    this.#child = spawn(command, args, {
      cwd: options.cwd ?? ROOT,
      env: { ...cleanEnvironment(), ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    running.add(this);
    this.#child.stdin.on('error', () => undefined); // the program may end before it has read everything
    if (options.input !== undefined) this.#child.stdin.end(options.input);
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout = (this.stdout + text).slice(-MAX_KEPT_CHARS);
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-MAX_KEPT_CHARS);
    });
    this.exited = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        running.delete(this);
        this.exit = { code, signal };
        resolve(this.exit);
      });
    });
    this.exited.catch(() => undefined); // whoever waits for it sees the error
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error(`${this.name} did not start`);
    return pid;
  }

  get stdin(): Writable {
    return this.#child.stdin;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.exit === undefined) this.#child.kill(signal);
  }

  /** Sends SIGTERM and waits for the end. */
  async stop(timeoutMs = 12_000): Promise<Exit> {
    this.signal('SIGTERM');
    return await within(timeoutMs, `the end of ${this.name}`, this.exited, () => this.transcript());
  }

  async kill(): Promise<Exit> {
    this.signal('SIGKILL');
    return await this.exited;
  }

  /** Waits until what it has written to stdout or stderr matches; fails at once when it ends without. */
  async waitForOutput(pattern: RegExp, timeoutMs = PATIENT_MS): Promise<RegExpExecArray> {
    const look = () => pattern.exec(this.stdout) ?? pattern.exec(this.stderr) ?? undefined;
    return await waitFor(`${pattern} from ${this.name}`, look, {
      timeoutMs,
      context: () => this.transcript(),
      failed: () => (this.exit === undefined ? undefined : 'it ended'),
    });
  }

  /** Everything it said, for the message of a failed assertion. */
  transcript(): string {
    const end = this.exit === undefined ? 'still runs' : `ended with ${JSON.stringify(this.exit)}`;
    return `--- ${this.name} ${end}\n--- stdout\n${this.stdout}\n--- stderr\n${this.stderr}---`;
  }

  /** Resident memory in bytes, from the kernel. */
  residentBytes(): number {
    const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'));
    if (line?.[1] === undefined) throw new Error(`no resident size for ${this.name}`);
    return Number(line[1]) * 1024;
  }
}

function cleanEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    // NODE_TEST_CONTEXT would make a child report to this file's test runner.
    if (!name.startsWith('FAIRLEAD_') && name !== 'NODE_TEST_CONTEXT' && !/_proxy$/i.test(name)) env[name] = value;
  }
  return env;
}

/**
 * Server and agent set flags of V8, which takes no code that was compiled under others: one compile cache for all would be
 * written anew by each process that follows one of another sort.
 */
function compileCacheOf(program: Program): Record<string, string> {
  const cache = process.env['NODE_COMPILE_CACHE'];
  return cache === undefined || program === 'cli' ? {} : { NODE_COMPILE_CACHE: join(cache, 'lean') };
}

/** Starts any command; killed after the test. */
export function launchCommand(
  cleanup: Cleanup,
  command: string,
  args: readonly string[],
  options: LaunchOptions = {},
): Launched {
  const launched = new Launched([command, ...args.slice(0, 2)].join(' '), command, args, options);
  defer(cleanup, () => launched.kill().catch(() => undefined)); // a program that never started is gone as well
  return launched;
}

/** Starts one of Fairlead's programs from its entry point; killed after the test. */
export function launch(
  cleanup: Cleanup,
  program: Program,
  args: readonly string[],
  options: LaunchOptions = {},
): Launched {
  const launched = new Launched(
    `fairlead ${program} ${args[0] ?? ''}`,
    process.execPath,
    [...(program === 'server' ? READY_KEYS : []), entryOf(program, options.build), ...args],
    { ...options, env: { ...compileCacheOf(program), ...(program === 'server' && nextKeys()), ...options.env } },
  );
  defer(cleanup, () => launched.kill().catch(() => undefined)); // a program that never started is gone as well
  return launched;
}

/** Runs one of Fairlead's programs to its end. */
export async function run(
  cleanup: Cleanup,
  program: Program,
  args: readonly string[],
  options: LaunchOptions & { timeoutMs?: number } = {},
): Promise<Launched & { exit: Exit }> {
  const launched = launch(cleanup, program, args, { input: '', ...options });
  await within(options.timeoutMs ?? PATIENT_MS, `the end of ${launched.name}`, launched.exited, () =>
    launched.transcript(),
  );
  return launched as Launched & { exit: Exit };
}
