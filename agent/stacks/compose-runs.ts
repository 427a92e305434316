/** Runs of the host's Compose: each in a private directory that is gone afterwards, and with a way to Docker of its own. */
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { checkResolved } from '../../shared/compose/compose-file.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { requireServices } from '../../shared/stacks/change.ts';
import type { ProgressLines } from '../../shared/stacks/progress.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { stateError } from '../identity/state-dir.ts';
import type { PolicySubject } from '../policy/policy.ts';
import { type ChildEnd, type ChildSpec, runChild } from './child.ts';
import { type ComposeProgram, findCompose } from './compose-program.ts';
import { DockerGate } from './docker-gate.ts';
import { envFile } from './env-file.ts';
import { clientConfig } from './registry-logins.ts';
import { checkStep, type StackParams, type Step } from './steps.ts';

/** What Compose makes of a file, at most. */
const MAX_RESOLVED_CHARS = 4 * 1024 * 1024;
/** How long Compose may take to say its version. */
const VERSION_MS = 20_000;
/** In the agent's state directory. */
const DIRECTORY = 'compose';
const RUN = 'run-';
const ENV_FILE = 'env';
const CONFIG_FILE = 'config.json';

export interface ComposeOptions {
  /** The agent's state directory. */
  readonly stateDir: string;
  /** Where the host's programs are. */
  readonly path: string;
  readonly docker: DockerEngine;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** What Compose is run for. */
export interface ComposeRun {
  /** As which the host's policy judges what is asked of Docker. */
  readonly kind: PolicySubject;
  readonly params: Omit<StackParams, 'changeId'>;
  readonly compose: ComposeProgram;
  readonly lines: ProgressLines;
  readonly signal: AbortSignal;
  readonly steps: readonly Step[];
  /** Keeps what its last step prints to its standard output, as much as this. */
  readonly maxOutputChars?: number;
}

/** Told while Compose runs. */
export interface RunHooks {
  /** Nothing speaks against it any more, and nothing is touched yet. */
  onReady(): void;
  /** A step begins that changes something. */
  onChange(): void;
}

export class ComposeRuns {
  readonly #options: ComposeOptions;
  #compose: ComposeProgram | undefined;
  #prepared: Promise<void> | undefined;

  constructor(options: ComposeOptions) {
    this.#options = options;
  }

  /** Removes what an agent that was killed has left of its runs: variables are in it. Never rejects. */
  async removeLeftovers(): Promise<void> {
    const { log } = this.#options;
    const names = await readdir(this.#directory).catch((error: NodeJS.ErrnoException) => {
      // Without the directory no stack was ever changed here.
      if (error.code !== 'ENOENT') log.warn({ err: error }, 'what is left of changes of stacks cannot be looked for');
      return [];
    });
    for (const name of names.filter((each) => each.startsWith(RUN))) {
      await rm(join(this.#directory, name), { recursive: true, force: true }).catch((error: unknown) =>
        log.warn({ err: error, name }, 'what is left of the change of a stack cannot be removed'),
      );
    }
  }

  /** Runs Compose, step by step, in a private directory that is gone afterwards. @returns what the last step printed, if that is kept */
  async run(work: ComposeRun, { onReady, onChange }: RunHooks): Promise<string> {
    const { kind, params, compose, signal, steps, maxOutputChars } = work;
    const { docker } = this.#options;
    const directory = await this.#runDirectory(envFile(params.env ?? {}, compose), params);
    let gate: DockerGate | undefined;
    try {
      gate = await DockerGate.open(join(directory, 'd.sock'), kind, docker);
      const run = { work, directory, gate };
      if (steps.some(({ hasFile }) => hasFile)) {
        const resolved = await this.#step(checkStep(compose), run, MAX_RESOLVED_CHARS);
        const { services } = checkResolved(resolved.output, this.#project);
        requireServices(params, services);
      }
      signal.throwIfAborted();
      onReady();
      let printed = '';
      for (const step of steps) {
        if (step.isChange) onChange();
        printed = (await this.#step(step, run, maxOutputChars)).output;
      }
      return printed;
    } finally {
      await gate?.close();
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** @param variables the content of its file of them. @throws FairleadError VALIDATION: the disk is full, or not to be written */
  async #runDirectory(variables: string, { logins = [] }: ComposeRun['params']): Promise<string> {
    await this.#prepare();
    const config = logins.length === 0 ? undefined : await clientConfig(join(this.#config, CONFIG_FILE), logins);
    let directory: string | undefined;
    try {
      directory = await mkdtemp(join(this.#directory, RUN));
      await writeFile(join(directory, ENV_FILE), variables, { mode: 0o600 });
      if (config !== undefined) await writeFile(join(directory, CONFIG_FILE), config, { mode: 0o600 });
      return directory;
    } catch (error) {
      if (directory !== undefined) await rm(directory, { recursive: true, force: true });
      throw stateError(this.#directory, 'cannot be written', error);
    }
  }

  async #step(
    step: Step,
    { work, directory, gate }: { work: ComposeRun; directory: string; gate: DockerGate },
    maxOutputChars?: number,
  ): Promise<ChildEnd> {
    const { params, compose, lines, signal } = work;
    const { clock } = this.#options;
    const file = step.hasFile ? ['-f', '-', '--project-directory', this.#project] : [];
    lines.begin();
    const end = await start({
      ...{ program: compose.program, cwd: this.#project, signal, clock },
      args: [
        ...compose.args,
        ...['--ansi', 'never', '-p', params.stack, '--env-file', join(directory, ENV_FILE)],
        ...file,
        ...step.args,
      ],
      env: {
        ...this.#environment(directory),
        DOCKER_HOST: gate.address,
        ...(params.logins?.length ? { DOCKER_CONFIG: directory } : {}),
      },
      input: step.hasFile ? (params.compose ?? '') : '',
      onLine: (line) => lines.add(step.name, line),
      ...(maxOutputChars === undefined ? {} : { maxOutputChars }),
    });
    if (end.code === 0) return end;
    const { denial, loss } = gate;
    if (denial !== undefined) throw denial;
    if (loss !== undefined) throw new FairleadError(loss.code, `compose ${step.name} failed: ${loss.message}`);
    throw failure(step, end, lines.reason, maxOutputChars);
  }

  /** All that Compose sees of an environment: nothing of the agent's own. */
  #environment(temporary: string): Record<string, string> {
    return {
      PATH: this.#options.path,
      HOME: this.#project,
      TMPDIR: temporary,
      LANG: 'C.UTF-8',
      DOCKER_CONFIG: this.#config,
      DOCKER_CLI_HINTS: 'false',
      // Compose 1 gives Docker a minute for each call, pulls included.
      COMPOSE_HTTP_TIMEOUT: '3600',
      COMPOSE_DISABLE_ENV_FILE: '1',
      PYTHONUNBUFFERED: '1',
    };
  }

  get #directory(): string {
    return join(this.#options.stateDir, DIRECTORY);
  }

  /** Of Docker's client, for the host's owner. */
  get #config(): string {
    return join(this.#directory, 'config');
  }

  /** Where relative paths of a file would lead: an empty directory, always the same one, since it stands in labels. */
  get #project(): string {
    return join(this.#directory, 'empty');
  }

  /** Makes the directories once. */
  #prepare(): Promise<void> {
    this.#prepared ??= this.#makeDirectories().catch((error: unknown) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }

  async #makeDirectories(): Promise<void> {
    try {
      for (const directory of [this.#directory, this.#project, this.#config]) {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        await chmod(directory, 0o700);
      }
    } catch (error) {
      throw stateError(this.#directory, 'cannot be made', error);
    }
  }

  /** @throws FairleadError UNSUPPORTED if the host has no Compose, OVERLOADED, TIMEOUT; the reason of `signal` */
  async program(signal: AbortSignal): Promise<ComposeProgram> {
    if (this.#compose !== undefined) return this.#compose;
    await this.#prepare();
    const { path, clock } = this.#options;
    const late = new AbortController();
    const timer = clock.setTimeout(() => late.abort(), VERSION_MS);
    try {
      this.#compose = await findCompose(path, async ({ program, args }) => {
        const { code, output } = await start({
          ...{ program, args, cwd: this.#project, clock, maxOutputChars: 1024, onLine: () => undefined },
          env: this.#environment(this.#directory),
          signal: AbortSignal.any([signal, late.signal]),
        });
        return code === 0 ? output : undefined;
      });
      return this.#compose;
    } catch (error) {
      if (!late.signal.aborted) throw error;
      throw new FairleadError('TIMEOUT', `Compose did not say its version within ${VERSION_MS / 1000} s`);
    } finally {
      timer.cancel();
    }
  }
}

/** What the host lacks for the moment. */
const LACKS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'EAGAIN', 'ENOMEM']);

/** Runs Compose. @throws FairleadError UNSUPPORTED if it cannot be started, OVERLOADED if that may pass */
async function start(spec: ChildSpec): Promise<ChildEnd> {
  try {
    return await runChild(spec);
  } catch (error) {
    if (isFairleadError(error) || spec.signal.aborted) throw error;
    const { code = '' } = error as NodeJS.ErrnoException;
    const what = `the host's Compose, ${spec.program}, cannot be started (${code})`;
    throw new FairleadError(LACKS.has(code) ? 'OVERLOADED' : 'UNSUPPORTED', what, { cause: error });
  }
}

function failure(step: Step, { code, output }: ChildEnd, reason: string, maxChars: number | undefined): FairleadError {
  if (maxChars !== undefined && output.length > maxChars) {
    return step.name === 'check'
      ? new FairleadError('VALIDATION', 'the Compose file becomes too large once its variables are put in')
      : new FairleadError('UNSUPPORTED', `compose ${step.name} has more to say than is kept: ask for less`);
  }
  const why = reason === '' ? `it ended with ${code ?? 'a signal'}` : reason;
  if (step.name === 'check') {
    return new FairleadError('VALIDATION', `the host's Compose does not take the Compose file: ${why}`);
  }
  return new FairleadError('DOCKER_ERROR', `compose ${step.name} failed: ${why}`);
}
