/** Samples of all running containers at one time, some at once, each within its time. */
import { dockerPath } from '../../shared/docker/call.ts';
import { asObject, asObjects, type DockerObject } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import type { ContainerUse } from '../../shared/messages/metrics.ts';
import { sleep } from '../../shared/sleep.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { figuresOf } from './container-use.ts';
import { Places } from './places.ts';

/** Questions to Docker at once, of all callers together: most of the time of each is a wait for Docker's next second. */
const MAX_QUESTIONS = 64;
/** Time for one container, and for all of them. */
const CONTAINER_MS = 5_000;
const ALL_MS = 25_000;
/** Between the two samples that figures of processors are made of. */
const BETWEEN_MS = 1_000;
/** Room for some 10,000 containers. */
const MAX_LIST_BYTES = 32 * 1024 * 1024;
const MAX_NAME_CHARS = 255;
const MAX_MESSAGE_CHARS = 1024;

export type RunningContainer = Pick<ContainerUse, 'id' | 'name'>;

const ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;

export class ContainerSampler {
  readonly #docker: DockerEngine;
  readonly #places = new Places(MAX_QUESTIONS);

  constructor(docker: DockerEngine) {
    this.#docker = docker;
  }

  /** @throws FairleadError as Docker's list does */
  async running(signal: AbortSignal): Promise<RunningContainer[]> {
    const call = { method: 'GET', path: '/containers/json', signal, maxBytes: MAX_LIST_BYTES } as const;
    return asObjects(await this.#docker.json(call)).flatMap(({ Id: id, Names: names }) => {
      if (typeof id !== 'string' || !ID.test(id)) return [];
      const name: unknown = Array.isArray(names) ? names[0] : undefined;
      return [{ id, name: typeof name === 'string' ? name.replace(/^\//, '').slice(0, MAX_NAME_CHARS) : '' }];
    });
  }

  /**
   * Each container's figures, or why there are none, in the order in which they come.
   * @throws FairleadError DENIED_BY_HOST if the host's policy lets Docker not be asked; the reason of `signal`
   */
  async sample(
    containers: readonly RunningContainer[],
    take: (use: ContainerUse) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock } = this.#docker;
    const endsAt = clock.monotonic() + ALL_MS;
    const first = new Map<RunningContainer, DockerObject>();
    const failed = (container: RunningContainer, error: unknown) => take({ ...container, error: failureOf(error) });
    await each(containers, async (container) => {
      const found = await this.#ask(container, endsAt, signal);
      if (found instanceof FairleadError) await failed(container, found);
      else first.set(container, found);
    });
    if (first.size > 0) await sleep(BETWEEN_MS, clock, signal);
    await each([...first.keys()], async (container) => {
      const found = await this.#ask(container, endsAt, signal);
      if (found instanceof FairleadError) await failed(container, found);
      else await take({ ...container, ...figuresOf(first.get(container) ?? {}, found) });
    });
  }

  /** One sample, which Docker (from API 1.41 on) does not wait for a second one to make; or why there is none. */
  async #ask({ id }: RunningContainer, endsAt: number, signal: AbortSignal): Promise<DockerObject | FairleadError> {
    const { clock } = this.#docker;
    const giveBack = await this.#places.take(signal);
    try {
      const timeoutMs = Math.min(CONTAINER_MS, endsAt - clock.monotonic());
      if (timeoutMs <= 0)
        return new FairleadError('TIMEOUT', `Docker did not answer for all within ${ALL_MS / 1000} s`);
      const path = dockerPath`/containers/${id}/stats`;
      const query = { stream: 0, 'one-shot': 1 };
      return asObject(await this.#docker.json({ method: 'GET', path, query, signal, timeoutMs }));
    } catch (error) {
      signal.throwIfAborted();
      const explained = this.#docker.explain(error);
      // That is not about one container: the next one would be denied as well.
      if (!isFairleadError(explained) || explained.code === 'DENIED_BY_HOST') throw explained;
      return explained;
    } finally {
      giveBack();
    }
  }
}

/** Works on all of them, no more at once than there are places. @throws what the first one to fail throws */
async function each<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const waiting = all.values();
  const worker = async () => {
    for (const one of waiting) await work(one);
  };
  await Promise.all(Array.from({ length: Math.min(MAX_QUESTIONS, all.length) }, worker));
}

function failureOf(error: unknown): { code: string; message: string } {
  const { code, message } = toWireError(error);
  return { code, message: message.slice(0, MAX_MESSAGE_CHARS) };
}
