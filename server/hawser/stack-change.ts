/**
 * Changes of stacks on hosts of Hawser, by its endpoint for Compose. The file is checked here, by the rules of any other host;
 * what has begun cannot be ended from here, and goes on in the agent when its caller leaves.
 */
import { checkCompose } from '../../shared/compose/compose-file.ts';
import { checkEnv, masker } from '../../shared/compose/env.ts';
import { scaled } from '../../shared/compose/scale.ts';
import { dockerPath, filtersQuery } from '../../shared/docker/call.ts';
import { asObject, asObjects } from '../../shared/docker/json.ts';
import { type ErrorCode, FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { Handoff } from '../../shared/handoff.ts';
import type { ComposeOperation } from '../../shared/hawser/compose.ts';
import { STACK_SECONDS, type StackProgress } from '../../shared/messages/stack.ts';
import { requireServices, type StackChangeKind, type StackParams } from '../../shared/stacks/change.ts';
import { ProgressLines } from '../../shared/stacks/progress.ts';
import { containersOf, PROJECT_LABEL, serviceOf } from '../../shared/stacks/project.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { runCompose } from './compose-run.ts';
import { dockerReader } from './docker-reader.ts';
import { asFairleadError } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import { type KindContext, type ServeKind, unsupported } from './kind.ts';
import { pullStackImages } from './stack-images.ts';
import type { StackEnd } from './stack-memory.ts';
import { json } from './unary.ts';

/** Those that say nothing of how a change has ended. */
const UNKNOWN_ENDS: readonly ErrorCode[] = ['STREAM_INTERRUPTED', 'TIMEOUT', 'HOST_OFFLINE', 'SHUTDOWN'];

export function serveStackChange(kind: StackChangeKind): ServeKind<StackChangeKind> {
  return async (context, given, { signal }) => {
    // The compiler does not see that each of these kinds replies and ends alike.
    const params = given as StackParams;
    const { stack, changeId, env = {}, compose, prune = false, state } = params;
    if (state !== undefined) {
      throw unsupported('stack.deploy of services that are not to run: it starts all that it deploys');
    }
    checkEnv(env);
    if (compose !== undefined) {
      const { services } = checkCompose(compose);
      requireServices(params, services);
      const mayRemove = kind.name === 'stack.deploy' ? !prune : kind.name === 'stack.scale';
      if (mayRemove) await requireNoOrphans(context, stack, services, signal);
    }
    const noteEnd = context.stacks.begin(stack, { id: changeId, kind: kind.name });
    return new Change(context, kind, params, noteEnd).stream(signal) as LinkStream<StackChangeKind>;
  };
}

/** An agent's `up` always removes what is not in the file. @throws FairleadError CONFLICT if nobody has asked for that */
async function requireNoOrphans(
  context: KindContext,
  stack: string,
  services: readonly string[],
  signal = new AbortController().signal,
): Promise<void> {
  const there = (await containersOf(dockerReader(context), stack, signal)).map(serviceOf);
  const orphans = [...new Set(there)].filter((service) => !services.includes(service)).sort();
  if (orphans.length === 0) return;
  throw new FairleadError(
    'CONFLICT',
    `the stack ${stack} has containers of services that are not in its file (${orphans.join(', ')}), and an agent of Hawser ` +
      'removes those with each deployment: deploy with prune if they may go, or put them into the file',
  );
}

class Change {
  readonly #context: KindContext;
  readonly #kind: StackChangeKind;
  readonly #params: StackParams;
  readonly #noteEnd: (end: StackEnd) => void;
  readonly #handoff = new Handoff<StackProgress>();
  readonly #lines: ProgressLines;
  /** Ends what is no change yet. */
  readonly #ending = new AbortController();
  readonly #left = Promise.withResolvers<never>();
  #hasBegun = false;

  constructor(context: KindContext, kind: StackChangeKind, params: StackParams, noteEnd: (end: StackEnd) => void) {
    this.#context = context;
    this.#kind = kind;
    this.#params = params;
    this.#noteEnd = noteEnd;
    this.#lines = new ProgressLines((progress) => this.#handoff.give(progress), masker(params.env ?? {}));
  }

  stream(signal: AbortSignal | undefined): LinkStream<StackChangeKind> {
    const { transport, facts } = this.#context;
    const { timeoutSeconds = STACK_SECONDS } = this.#params;
    const timer = transport.clock.setTimeout(() => {
      this.#leave(new FairleadError('TIMEOUT', `Compose was not done within ${timeoutSeconds} s`));
    }, timeoutSeconds * 1000);
    const onAbort = () => this.#leave(asFairleadError(signal?.reason));
    const trailer = Promise.race([this.#run(), this.#left.promise]).finally(() => {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
    });
    trailer.catch(() => undefined);
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    const bytes = HeldBytes.none();
    bytes.resume();
    const handoff = this.#handoff;
    return {
      reply: { compose: `by Hawser ${facts.agentVersion}`.slice(0, 64) },
      bytes,
      async *items() {
        yield* handoff.values();
        await trailer;
      },
      trailer,
      signal: () => undefined,
      reset: (error) => this.#leave(error),
      closed: trailer.then(() => undefined, asFairleadError),
    };
  }

  /** Whoever asked goes away, or has waited long enough. */
  #leave(reason: FairleadError): void {
    this.#handoff.end();
    if (!this.#hasBegun) {
      this.#ending.abort(reason);
      this.#left.reject(reason);
      return;
    }
    const goesOn =
      'Compose has begun, and an agent of Hawser cannot be told to end it: the status of the stack says how it ends';
    this.#left.reject(new FairleadError('STREAM_INTERRUPTED', `${reason.message}; ${goesOn}`, { cause: reason }));
  }

  async #run(): Promise<Record<string, never>> {
    try {
      await this.#steps();
      this.#noteEnd({ state: 'done' });
      return {};
    } catch (error) {
      const isUnknown = UNKNOWN_ENDS.some((code) => isFairleadError(error, code));
      this.#noteEnd(isUnknown ? undefined : { state: 'failed', ...toWireError(error) });
      throw error;
    } finally {
      void this.#lines.sent().then(() => this.#handoff.end());
    }
  }

  async #steps(): Promise<void> {
    const { stack, compose = '', pull = false, services = {}, volumes = false } = this.#params;
    switch (this.#kind.name) {
      case 'stack.deploy':
        if (pull) await this.#pull();
        else await this.#pullImages(false);
        return await this.#compose('up');
      case 'stack.pull':
        return await this.#pull();
      case 'stack.scale':
        return await this.#compose('up', { compose: scaled(compose, services), services: Object.keys(services) });
      case 'stack.remove': {
        const names = volumes ? await this.#volumes(stack) : [];
        await this.#compose('down');
        return await this.#removeVolumes(names);
      }
      default:
        return await this.#compose(this.#kind.name.slice('stack.'.length) as ComposeOperation);
    }
  }

  async #pull(): Promise<void> {
    if (!(await this.#pullImages(true))) await this.#compose('pull');
  }

  async #pullImages(always: boolean): Promise<boolean> {
    const { compose = '', env = {} } = this.#params;
    this.#lines.begin();
    return await pullStackImages(this.#context, { compose, env, always, signal: this.#ending.signal }, this.#lines);
  }

  async #compose(
    operation: ComposeOperation,
    { compose = this.#params.compose, services }: { compose?: string | undefined; services?: readonly string[] } = {},
  ): Promise<void> {
    this.#ending.signal.throwIfAborted();
    this.#hasBegun = true;
    const { stack, env } = this.#params;
    await runCompose(this.#context, { operation, stack, compose, env, services }, this.#lines);
  }

  /** The names of a stack's own volumes: no agent says whether it knows the option that removes them. */
  async #volumes(stack: string): Promise<string[]> {
    const query = filtersQuery({ label: [`${PROJECT_LABEL}=${stack}`] });
    const { signal } = this.#ending;
    const { Volumes } = asObject(await json(this.#context, { method: 'GET', path: '/volumes', query }, { signal }));
    return asObjects(Volumes ?? []).map(({ Name }) => String(Name));
  }

  async #removeVolumes(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const { status, body } = await this.#context.ask({ method: 'DELETE', path: dockerPath`/volumes/${name}` });
      if (status < 400 || status === 404) this.#lines.add('down', `volume ${name} removed`);
      else
        throw new FairleadError(
          'DOCKER_ERROR',
          `the volume ${name} is not removed: ${body.toString('utf8').slice(0, 300)}`,
        );
    }
  }
}
