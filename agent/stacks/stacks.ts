/** The stacks of this host as the agent changes them: one change of each at a time, by the host's own Compose. */
import { checkCompose } from '../../shared/compose/compose-file.ts';
import { checkEnv, masker } from '../../shared/compose/env.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { STACK_SECONDS, type StackChange, type StackProgress } from '../../shared/messages/stack.ts';
import type { StackChangeKind } from '../../shared/stacks/change.ts';
import { ProgressLines } from '../../shared/stacks/progress.ts';
import type { PolicySubject } from '../policy/policy.ts';
import { type ComposeOptions, ComposeRuns } from './compose-runs.ts';
import { lookStep, type StackLook, type StackParams, stepsOf } from './steps.ts';

/** Changes at once, of all stacks: each is a program or two. */
const MAX_CHANGES = 4;
/** Looks at stacks by Compose, at once, how long each may take, and what it may print. */
const MAX_LOOKS = 4;
const LOOK_MS = 60_000;
const MAX_LOOK_CHARS = 4 * 1024 * 1024;
/** Stacks whose last change is remembered. */
const MAX_REMEMBERED = 256;

/** Who asked for a change. */
export interface ChangeCaller {
  /** Called once nothing speaks against the change any more, and before anything is touched. */
  ready(compose: string): void;
  /** May fail when nobody reads any more. */
  progress(progress: StackProgress): Promise<void>;
  readonly aborted: AbortSignal;
}

export class Stacks {
  readonly #options: ComposeOptions;
  readonly #runs: ComposeRuns;
  readonly #closing = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  /** By stack, in the order in which they began. */
  readonly #changes = new Map<string, StackChange>();
  #looks = 0;

  constructor(options: ComposeOptions) {
    this.#options = options;
    this.#runs = new ComposeRuns(options);
  }

  /** Removes what an agent that was killed has left of its runs: variables are in it. Never rejects. */
  async removeLeftovers(): Promise<void> {
    await this.#runs.removeLeftovers();
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
    return (await this.#runs.program(this.#closing.signal)).version;
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
      const compose = await this.#runs.program(signal);
      const lines = new ProgressLines(async () => undefined, masker(env));
      const steps = [lookStep(look, { ...params, changeId: 'look' }, compose)];
      const work = { kind, params, compose, lines, signal, steps, maxOutputChars: MAX_LOOK_CHARS };
      return await this.#runs.run(work, { onReady: () => undefined, onChange: () => undefined });
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
      const compose = await this.#runs.program(ending.signal);
      const secrets = { ...env, ...passwordsOf(params) };
      const lines = new ProgressLines((progress) => caller.progress(progress), masker(secrets));
      const steps = stepsOf(kind, params, compose);
      await this.#runs.run(
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
