/**
 * Stacks: what a Compose file describes, on one host. The host's own Compose does the work; what was deployed is kept here.
 * Each stack is changed by one caller at a time. A change ends when its signal fires.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { checkCompose } from '../../shared/compose/compose-file.ts';
import { checkEnv } from '../../shared/compose/env.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { Item, Params } from '../../shared/messages/kind.ts';
import * as kinds from '../../shared/messages/stack.ts';
import type { StackChangeKind } from '../../shared/stacks/change.ts';
import type { HostLink, LinkStream } from '../hosts/host-link.ts';
import type { RevisionAction, RevisionRow, StackKey } from '../store/stack-revisions.ts';
import { SlowTurns } from '../turns.ts';
import { GoingChanges, type HeldStacks } from './going-changes.ts';
import { readAll } from './read-all.ts';
import { noRevisions, type Revisions, type StackContent } from './revisions.ts';
import { RunningChange } from './running-change.ts';

/** From the question to the answer that the host begins: its Compose may have to be found, and to read the file. */
const READY_MS = 120_000;
/** Changes that go on at once: of one caller's at a host, and of all at it, which is what an agent takes; and those that may wait. */
const CHANGE_TURNS = { what: 'changes of stacks', ofCaller: 3, ofHost: 4, waiting: 64 };
/** Those that say nothing of whether the host had begun. */
const UNKNOWN_ENDS = ['STREAM_INTERRUPTED', 'SHUTDOWN', 'TIMEOUT', 'CANCELLED', 'UNAUTHORIZED'] as const;

/** Which stack, by the way to its host. */
export interface StackTarget {
  readonly link: HostLink;
  readonly stack: string;
}

export interface ChangeOptions {
  /** Whose change it is, for others who come meanwhile. */
  readonly by: string;
  readonly signal: AbortSignal;
  readonly timeoutSeconds?: number | undefined;
  /** What the caller holds: with it the change is a part of what goes on there. */
  readonly held?: HeldStacks | undefined;
  /** How long its turn at the host is waited for; as long as all take turns unless given. */
  readonly turnMs?: number | undefined;
}

export interface DeployOptions extends ChangeOptions {
  /** Pulls all images first. */
  readonly pull?: boolean | undefined;
  /** Removes containers of services that are no longer in the file. */
  readonly prune?: boolean | undefined;
  /** What there is to be of it; all, as the file has it, if it is undefined. */
  readonly state?: kinds.StackState | undefined;
}

/** How long what nobody looks on at waits for its turn, in ms: as long as the longest change. */
export const PATIENT_TURN_MS = kinds.MAX_STACK_SECONDS * 1000;

/** A stack as its host has it. */
export interface StackStatus {
  readonly containers: readonly Item<typeof kinds.stackStatus>[];
  readonly change: kinds.StackChange | undefined;
}

export interface StacksOptions {
  readonly revisions: Revisions;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'error'>;
}

export class Stacks {
  readonly revisions: Revisions;
  readonly #log: StacksOptions['log'];
  readonly #going: GoingChanges;
  readonly #turns: SlowTurns;

  constructor({ revisions, clock, log }: StacksOptions) {
    this.revisions = revisions;
    this.#log = log;
    this.#going = new GoingChanges(clock);
    this.#turns = new SlowTurns(CHANGE_TURNS, clock);
  }

  /**
   * Deploys a Compose file as a new revision.
   * @returns once the host has found nothing against it @throws FairleadError VALIDATION, PAYLOAD_TOO_LARGE, CONFLICT, what
   * the host refuses it with: nothing has been touched then
   */
  async deploy(
    target: StackTarget,
    content: StackContent,
    options: DeployOptions,
    about: { readonly action: RevisionAction; readonly source?: number } = { action: 'deploy' },
  ): Promise<RunningChange<RevisionRow>> {
    return await this.#deploy(target, content, options, about);
  }

  /** Keeps others from changing these stacks. @throws FairleadError CONFLICT that says what goes on with one of them */
  hold(keys: readonly StackKey[], what: string, by: string): HeldStacks {
    return this.#going.hold(keys, what, by);
  }

  /**
   * The version of a host's Compose. Nothing is there under the name of the target that could be touched.
   * @throws FairleadError UNSUPPORTED if the host has none, DENIED_BY_HOST, VALIDATION if a Compose 1 does not take the file
   */
  async composeOf(target: StackTarget, content: StackContent, options: ChangeOptions): Promise<string> {
    const stream = await this.#open(kinds.stackStop, target, withEnv(content), randomUUID(), options);
    // That there is nothing to stop may be a failure or not; the answer is that it has begun.
    await stream.trailer.catch(() => undefined);
    return stream.reply.compose;
  }

  /** Deploys a revision once more, as a new one. @param number the current one if it is undefined @throws as `deploy`, NOT_FOUND */
  async repeat(
    target: StackTarget,
    { action, number }: { readonly action: RevisionAction; readonly number?: number | undefined },
    options: DeployOptions,
  ): Promise<RunningChange<RevisionRow>> {
    const key = keyOf(target);
    const source = number ?? (await this.#current(key)).number;
    return await this.#deploy(target, await this.revisions.content(key, source), options, { action, source });
  }

  /** Starts, stops or restarts what there is of a stack, whoever has deployed it. @throws as `deploy`, NOT_FOUND */
  async act(
    target: StackTarget,
    verb: 'start' | 'stop' | 'restart',
    options: ChangeOptions,
  ): Promise<RunningChange<void>> {
    const kind = { start: kinds.stackStart, stop: kinds.stackStop, restart: kinds.stackRestart }[verb];
    const content = await this.#contentIfAny(target, options.signal);
    return await this.#change(kind, target, { ...content }, options);
  }

  /** Pulls the images of the current revision. @throws as `deploy`, NOT_FOUND for a stack that is not managed */
  async pull(target: StackTarget, options: ChangeOptions): Promise<RunningChange<void>> {
    return await this.#change(kinds.stackPull, target, await this.#content(target), options);
  }

  /** Lets services of the current revision have so many containers, until it is deployed again. @throws as `pull` */
  async scale(
    target: StackTarget,
    services: Readonly<Record<string, number>>,
    options: ChangeOptions,
  ): Promise<RunningChange<void>> {
    const content = await this.#content(target);
    return await this.#change(kinds.stackScale, target, { ...content, services }, options);
  }

  /**
   * Removes a stack's containers and networks, and its volumes if that is said, whoever has deployed it; then its revisions.
   * @throws as `deploy`, NOT_FOUND
   */
  async remove(
    target: StackTarget,
    { volumes }: { readonly volumes: boolean },
    options: ChangeOptions,
  ): Promise<RunningChange<void>> {
    const content = await this.#contentIfAny(target, options.signal);
    const key = keyOf(target);
    return await this.#change(kinds.stackRemove, target, { ...content, volumes }, options, () =>
      this.revisions.remove(key),
    );
  }

  /** The stacks that a host has containers of, whoever has deployed them. */
  async onHost(link: HostLink, signal: AbortSignal): Promise<Item<typeof kinds.stackList>[]> {
    const { items } = await readAll(link, kinds.stackList, {}, signal);
    return items;
  }

  /** What a host has of a stack; what nobody knew of its last deployment is written down. */
  async status({ link, stack }: StackTarget, signal: AbortSignal): Promise<StackStatus> {
    const { reply, items } = await readAll(link, kinds.stackStatus, { stack }, signal);
    const key = { hostId: link.hostId, stack };
    if (reply.change !== undefined && !this.#going.has(key)) await this.revisions.settle(key, reply.change);
    return { containers: items, change: reply.change };
  }

  async #deploy(
    target: StackTarget,
    content: StackContent,
    options: DeployOptions,
    about: { readonly action: RevisionAction; readonly source?: number },
  ): Promise<RunningChange<RevisionRow>> {
    checkEnv(content.env);
    checkCompose(content.compose);
    const key = keyOf(target);
    const release = this.#going.take(key, kinds.stackDeploy.name, options);
    let revision: RevisionRow | undefined;
    try {
      const begun = await this.revisions.begin(key, content, { ...about, by: options.by });
      revision = begun;
      const { pull = false, prune = false, state } = options;
      const params = { ...withEnv(content), pull, prune, ...(state === undefined ? {} : { state }) };
      const stream = await this.#open(kinds.stackDeploy, target, params, begun.id, options);
      const done = this.#finished(stream, begun).finally(release);
      return new RunningChange(stream.reply.compose, done, stream, left);
    } catch (error) {
      if (revision !== undefined) await this.#refused(revision, error);
      release();
      throw error;
    }
  }

  /** What a host has refused, it has not begun; of one that is lost nobody knows. */
  async #refused(revision: RevisionRow, error: unknown): Promise<void> {
    const isUnknown = UNKNOWN_ENDS.some((code) => isFairleadError(error, code));
    const note = isUnknown ? this.revisions.finish(revision, error) : this.revisions.withdraw(revision);
    await note.catch((cause: unknown) =>
      this.#log.error({ err: cause }, 'the end of a deployment is not written down'),
    );
  }

  async #finished(stream: LinkStream<typeof kinds.stackDeploy>, revision: RevisionRow): Promise<RevisionRow> {
    try {
      await stream.trailer;
    } catch (error) {
      await this.revisions
        .finish(revision, error)
        .catch((cause: unknown) => this.#log.error({ err: cause }, 'the end of a deployment is not written down'));
      throw error;
    }
    return await this.revisions.finish(revision);
  }

  async #change<K extends Exclude<StackChangeKind, typeof kinds.stackDeploy>>(
    kind: K,
    target: StackTarget,
    params: Omit<Params<K>, 'stack' | 'changeId' | 'timeoutSeconds'>,
    options: ChangeOptions,
    after: () => Promise<void> = async () => undefined,
  ): Promise<RunningChange<void>> {
    const release = this.#going.take(keyOf(target), kind.name, options);
    try {
      const stream = await this.#open(kind as StackChangeKind, target, params, randomUUID(), options);
      const done = stream.trailer.then(after).finally(release);
      return new RunningChange(stream.reply.compose, done, stream, left);
    } catch (error) {
      release();
      throw error;
    }
  }

  async #open<K extends StackChangeKind>(
    kind: K,
    { link, stack }: StackTarget,
    params: object,
    changeId: string,
    { by, signal, timeoutSeconds, turnMs }: ChangeOptions,
  ): Promise<LinkStream<K>> {
    const seconds = timeoutSeconds === undefined ? {} : { timeoutSeconds };
    // The compiler does not see that these and the parameters of the kind are all that there is.
    const all = { stack, changeId, ...params, ...seconds } as unknown as Params<K>;
    const end = await this.#turns.take({ hostId: link.hostId, caller: by }, signal, turnMs);
    try {
      const stream = await link.open(kind, all, { signal, timeoutMs: READY_MS });
      void stream.trailer.catch(() => undefined).finally(end);
      return stream;
    } catch (error) {
      end();
      throw error;
    }
  }

  async #current(key: StackKey): Promise<RevisionRow> {
    const revision = await this.revisions.current(key);
    if (revision === undefined) throw noRevisions(key);
    return revision;
  }

  async #content(target: StackTarget): Promise<Pick<Params<typeof kinds.stackPull>, 'compose' | 'env'>> {
    const key = keyOf(target);
    const { number } = await this.#current(key);
    return withEnv(await this.revisions.content(key, number));
  }

  /** The same, or nothing for a stack that others have deployed. @throws FairleadError NOT_FOUND if there is none at all */
  async #contentIfAny(
    target: StackTarget,
    signal: AbortSignal,
  ): Promise<Partial<Pick<Params<typeof kinds.stackPull>, 'compose' | 'env'>>> {
    if ((await this.revisions.current(keyOf(target))) !== undefined) return await this.#content(target);
    const { containers } = await this.status(target, signal);
    if (containers.length === 0) throw new FairleadError('NOT_FOUND', `there is no stack ${target.stack} on this host`);
    return {};
  }
}

function keyOf({ link, stack }: StackTarget): StackKey {
  return { hostId: link.hostId, stack };
}

function left(): FairleadError {
  return new FairleadError('CANCELLED', 'whoever asked for the change of the stack has left');
}

function withEnv({ compose, env }: StackContent) {
  return Object.keys(env).length === 0 ? { compose } : { compose, env };
}
