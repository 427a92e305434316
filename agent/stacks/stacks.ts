/** The stacks of this host as the agent changes them: one change of each at a time, by the host's own Compose. */
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { checkCompose, checkResolved } from '../../shared/compose/compose-file.ts';
import { checkEnv, masker } from '../../shared/compose/env.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { STACK_SECONDS, type StackChange, type StackProgress } from '../../shared/messages/stack.ts';
import { requireServices, type StackChangeKind } from '../../shared/stacks/change.ts';
import { ProgressLines } from '../../shared/stacks/progress.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { stateError } from '../identity/state-dir.ts';
import type { PolicySubject } from '../policy/policy.ts';
import { type ChildEnd, type ChildSpec, runChild } from './child.ts';
import { type ComposeProgram, findCompose } from './compose-program.ts';
import { DockerGate } from './docker-gate.ts';
import { envFile } from './env-file.ts';
import { clientConfig } from './registry-logins.ts';
import { checkStep, lookStep, type StackLook, type StackParams, type Step, stepsOf } from './steps.ts';

/** Changes at once, of all stacks: each is a program or two. */
const MAX_CHANGES = 4;
/** Looks at stacks by Compose, at once, how long each may take, and what it may print. */
const MAX_LOOKS = 4;
const LOOK_MS = 60_000;
const MAX_LOOK_CHARS = 4 * 1024 * 1024;
/** Stacks whose last change is remembered. */
const MAX_REMEMBERED = 256;
/** What Compose makes of a file, at most. */
const MAX_RESOLVED_CHARS = 4 * 1024 * 1024;
/** How long Compose may take to say its version. */
const VERSION_MS = 20_000;
/** In the agent's state directory. */
const DIRECTORY = 'compose';
const RUN = 'run-';
const ENV_FILE = 'env';
const CONFIG_FILE = 'config.json';

export interface StacksOptions {
  /** The agent's state directory. */
  readonly stateDir: string;
  /** Where the host's programs are. */
  readonly path: string;
  readonly docker: DockerEngine;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Who asked for a change. */
export interface ChangeCaller {
  /** Called once nothing speaks against the change any more, and before anything is touched. */
  ready(compose: string): void;
  /** May fail when nobody reads any more. */
  progress(progress: StackProgress): Promise<void>;
  readonly aborted: AbortSignal;
}

/** What Compose is run for. */
interface Work {
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

export class Stacks {
  readonly #options: StacksOptions;
  readonly #closing = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  /** By stack, in the order in which they began. */
  readonly #changes = new Map<string, StackChange>();
  #looks = 0;
  #compose: ComposeProgram | undefined;
  #prepared: Promise<void> | undefined;

  constructor(options: StacksOptions) {
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

  /** The last change of a stack that this agent has begun, as far as it remembers. */
  lastChange(stack: string): StackChange | undefined {
    return this.#changes.get(stack);
  }

  /**
   * Changes a stack. It ends when its caller leaves, with two exceptions: a change that has begun goes on when only the
   * session is lost, and no change outlives the agent.
   * @throws FairleadError CONFLICT, OVERLOADED, UNSUPPORTED, VALIDATION, TIMEOUT, DENIED_BY_HOST, DOCKER_ERROR, SHUTDOWN, or
   * the reason of `aborted`
   */
  async change(kind: StackChangeKind, params: StackParams, caller: ChangeCaller): Promise<void> {
    const { stack, changeId } = params;
    const going = this.#changes.get(stack);
    if (this.#running.has(stack)) {
      throw new FairleadError('CONFLICT', `${going?.kind} of the stack ${stack} is in progress here; wait for its end`);
    }
    if (this.#running.size >= MAX_CHANGES) {
      throw new FairleadError('OVERLOADED', `${MAX_CHANGES} stacks are being changed here; wait for the end of one`);
    }
    const note = (end: Pick<StackChange, 'state' | 'code' | 'message'>) => {
      this.#remember(stack, { id: changeId, kind: kind.name, ...end });
    };
    note({ state: 'running' });
    const work = this.#work(kind, params, caller);
    this.#running.set(
      stack,
      work.catch(() => undefined),
    );
    try {
      await work;
      note({ state: 'done' });
    } catch (error) {
      note({ state: 'failed', ...toWireError(error) });
      throw error;
    } finally {
      this.#running.delete(stack);
    }
  }

  /** The version of the host's Compose. @throws FairleadError UNSUPPORTED if it has none, TIMEOUT, SHUTDOWN */
  async composeVersion(): Promise<string> {
    return (await this.#program(this.#closing.signal)).version;
  }

  /**
   * What Compose itself says of a stack, as it prints it.
   * @param kind as which the host's policy judges it
   * @throws FairleadError OVERLOADED, UNSUPPORTED, VALIDATION, TIMEOUT, DENIED_BY_HOST, DOCKER_ERROR, SHUTDOWN, and the
   * reason of `aborted`
   */
  async look(
    kind: PolicySubject,
    look: StackLook,
    params: Omit<StackParams, 'changeId'>,
    aborted: AbortSignal,
  ): Promise<string> {
    if (this.#looks >= MAX_LOOKS) throw new FairleadError('OVERLOADED', `${MAX_LOOKS} stacks are being looked at here`);
    const { clock } = this.#options;
    const { env = {} } = params;
    const late = new AbortController();
    const why = new FairleadError('TIMEOUT', `Compose was not done within ${LOOK_MS / 1000} s, and was ended`);
    const timer = clock.setTimeout(() => late.abort(why), LOOK_MS);
    const signal = AbortSignal.any([aborted, late.signal, this.#closing.signal]);
    this.#looks += 1;
    try {
      signal.throwIfAborted();
      checkEnv(env);
      if (params.compose !== undefined) checkCompose(params.compose);
      const compose = await this.#program(signal);
      const lines = new ProgressLines(async () => undefined, masker(env));
      const steps = [lookStep(look, { ...params, changeId: 'look' }, compose)];
      const work = { kind, params, compose, lines, signal, steps, maxOutputChars: MAX_LOOK_CHARS };
      return await this.#inRun(work, { onReady: () => undefined, onChange: () => undefined });
    } finally {
      this.#looks -= 1;
      timer.cancel();
    }
  }

  /** Ends all changes, and resolves once nothing is left of them. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new FairleadError('SHUTDOWN', 'the agent is stopping'));
    await Promise.all(this.#running.values());
  }

  #remember(stack: string, change: StackChange): void {
    this.#changes.delete(stack);
    this.#changes.set(stack, change);
    for (const oldest of this.#changes.keys()) {
      if (this.#changes.size <= MAX_REMEMBERED) return;
      if (!this.#running.has(oldest)) this.#changes.delete(oldest);
    }
  }

  async #work(kind: StackChangeKind, params: StackParams, caller: ChangeCaller): Promise<void> {
    const { clock, log } = this.#options;
    const { stack, env = {}, timeoutSeconds = STACK_SECONDS } = params;
    const ending = new AbortController();
    const end = (reason: unknown) => ending.abort(reason);
    let hasBegun = false;
    const onClosing = () => end(this.#closing.signal.reason);
    const onAborted = () => {
      const { reason } = caller.aborted;
      if (hasBegun && isLost(reason)) log.info({ stack, kind: kind.name }, 'the session was lost; the change goes on');
      else end(reason);
    };
    const timer = clock.setTimeout(() => {
      end(new FairleadError('TIMEOUT', `Compose was not done within ${timeoutSeconds} s, and was ended`));
    }, timeoutSeconds * 1000);
    this.#closing.signal.addEventListener('abort', onClosing);
    caller.aborted.addEventListener('abort', onAborted);
    try {
      this.#closing.signal.throwIfAborted();
      caller.aborted.throwIfAborted();
      // The server has looked at both already; what it let through is for this host to judge all the same.
      checkEnv(env);
      if (params.compose !== undefined) checkCompose(params.compose);
      const compose = await this.#program(ending.signal);
      const secrets = { ...env, ...passwordsOf(params) };
      const lines = new ProgressLines((progress) => caller.progress(progress), masker(secrets));
      const steps = stepsOf(kind, params, compose);
      await this.#inRun(
        { kind, params, compose, lines, signal: ending.signal, steps },
        {
          onReady: () => caller.ready(compose.version),
          onChange: () => {
            hasBegun = true;
          },
        },
      );
      await Promise.race([lines.sent(), settled(ending.signal)]);
    } finally {
      timer.cancel();
      this.#closing.signal.removeEventListener('abort', onClosing);
      caller.aborted.removeEventListener('abort', onAborted);
    }
  }

  /** Runs Compose, step by step, in a private directory that is gone afterwards. @returns what the last step printed, if that is kept */
  async #inRun(work: Work, { onReady, onChange }: { onReady: () => void; onChange: () => void }): Promise<string> {
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
  async #runDirectory(variables: string, { logins = [] }: Work['params']): Promise<string> {
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
    { work, directory, gate }: { work: Work; directory: string; gate: DockerGate },
    maxOutputChars?: number,
  ): Promise<ChildEnd> {
    const { params, compose, lines, signal } = work;
    const { clock } = this.#options;
    const file = step.hasFile ? ['-f', '-', '--project-directory', this.#project] : [];
    lines.begin();
    const end = await run({
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

  async #program(signal: AbortSignal): Promise<ComposeProgram> {
    if (this.#compose !== undefined) return this.#compose;
    await this.#prepare();
    const { path, clock } = this.#options;
    const late = new AbortController();
    const timer = clock.setTimeout(() => late.abort(), VERSION_MS);
    try {
      this.#compose = await findCompose(path, async ({ program, args }) => {
        const { code, output } = await run({
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
async function run(spec: ChildSpec): Promise<ChildEnd> {
  try {
    return await runChild(spec);
  } catch (error) {
    if (isFairleadError(error) || spec.signal.aborted) throw error;
    const { code = '' } = error as NodeJS.ErrnoException;
    const what = `the host's Compose, ${spec.program}, cannot be started (${code})`;
    throw new FairleadError(LACKS.has(code) ? 'OVERLOADED' : 'UNSUPPORTED', what, { cause: error });
  }
}

/** Whether a stream ended with its session, or with a server that stops: nobody has decided against its work. */
function isLost(reason: unknown): boolean {
  return isFairleadError(reason, 'STREAM_INTERRUPTED') || isFairleadError(reason, 'SHUTDOWN');
}

function settled(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** What is to be shown nowhere, by any names. */
function passwordsOf({ logins = [] }: StackParams): Record<string, string> {
  return Object.fromEntries(logins.map(({ password }, at) => [`login ${at}`, password]));
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
