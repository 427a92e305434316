/**
 * Reaches into a volume without running anything: a container that is made, but never started, has the volume mounted, and
 * Docker reads and writes archives of such a one. Its image is made on the spot, of one empty file, and never pulled.
 */
import { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { type AskedCall, dockerPath } from '../../shared/docker/call.ts';
import { asObject, asObjects, parseDockerJson } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { DockerEngine } from './engine.ts';

/** On helpers and their images; its value says whose they are. */
export const HELPER_LABEL = 'fairlead.helper';
const ID_LABEL = `${HELPER_LABEL}.id`;
const TIME_LABEL = `${HELPER_LABEL}.time`;
/** Where the volume is in the helper. */
const MOUNT = 'volume';
const TAR_TYPE = 'application/x-tar';
/** Time for Docker to begin an archive, or to make a container: it may wait for a slow disk. */
const BEGIN_MS = 60_000;
/** Stands for the id that Docker has yet to give. */
const ANY_ID = '0'.repeat(64);

export interface HelperOptions {
  /** A UUID. */
  readonly id: string;
  readonly volume: string;
  /** Who makes it, so that leftovers are known by it. */
  readonly owner: string;
  readonly signal?: AbortSignal | undefined;
}

type Archive = 'read' | 'write';

/** What it takes to make a helper, to use it, and to remove it again. */
function callsOfHelper(use: Archive): AskedCall[] {
  return [
    { method: 'POST', path: '/images/create' },
    { method: 'POST', path: '/containers/create' },
    { method: use === 'read' ? 'GET' : 'PUT', path: dockerPath`/containers/${ANY_ID}/archive` },
    { method: 'DELETE', path: dockerPath`/containers/${ANY_ID}` },
    { method: 'DELETE', path: dockerPath`/images/${ANY_ID}` },
  ];
}

/** @throws FairleadError DENIED_BY_HOST, before anything is made that could not be removed */
export function requireHelper(docker: DockerEngine, ...uses: readonly Archive[]): void {
  for (const use of uses) for (const call of callsOfHelper(use)) docker.requirePermitted(call);
}

/** A helper for one volume. Whoever opens it closes it. */
export class VolumeHelper {
  readonly #docker: DockerEngine;
  readonly #image: string;
  readonly #container: string;

  private constructor(docker: DockerEngine, { image, container }: { image: string; container: string }) {
    this.#docker = docker;
    this.#image = image;
    this.#container = container;
  }

  /**
   * Makes a helper. The volume must be there: Docker would make it.
   * @throws FairleadError DENIED_BY_HOST, and what Docker says
   */
  static async open(docker: DockerEngine, { id, volume, owner, signal }: HelperOptions): Promise<VolumeHelper> {
    requireHelper(docker, 'read');
    const labels = { [HELPER_LABEL]: owner, [ID_LABEL]: id, [TIME_LABEL]: new Date(docker.clock.now()).toISOString() };
    // From here on it is made whole and removed: who leaves meanwhile is asked afterwards.
    const image = await importEmptyImage(docker, labels);
    try {
      const container = await createContainer(docker, { image, labels, volume, id });
      const helper = new VolumeHelper(docker, { image, container });
      if (signal?.aborted) {
        await helper.close();
        signal.throwIfAborted();
      }
      return helper;
    } catch (error) {
      await remove(docker, dockerPath`/images/${image}`);
      throw error;
    }
  }

  /** A tar of `path` in the volume, its entries named from `path`'s last part on; `.` at its end: from there on. */
  async read(path: string, signal?: AbortSignal): Promise<Readable> {
    return await this.#read(`/${MOUNT}/${path}`, signal);
  }

  /** A tar of all that is in the volume, with the mode and the owner of its root. What `writeWhole` takes. */
  async readWhole(signal?: AbortSignal): Promise<Readable> {
    return await this.#read(`/${MOUNT}`, signal);
  }

  /** Unpacks a tar in the directory `path` of the volume. */
  async write(path: string, tar: Readable, signal?: AbortSignal): Promise<void> {
    await this.#write(`/${MOUNT}/${path}`, tar, signal);
  }

  /** Unpacks what `readWhole` has read. What else is in such a tar comes into the helper, and goes with it. */
  async writeWhole(tar: Readable, signal?: AbortSignal): Promise<void> {
    await this.#write('/', tar, signal);
  }

  /** Removes the helper and its image. Idempotent. @returns false when Docker did not let it: a sweep finds it later */
  async close(): Promise<boolean> {
    const isRemoved = await remove(this.#docker, dockerPath`/containers/${this.#container}`);
    return (await remove(this.#docker, dockerPath`/images/${this.#image}`)) && isRemoved;
  }

  async #read(path: string, signal: AbortSignal | undefined): Promise<Readable> {
    const archive = dockerPath`/containers/${this.#container}/archive`;
    return await this.#docker.stream({ method: 'GET', path: archive, query: { path }, signal, timeoutMs: BEGIN_MS });
  }

  async #write(path: string, tar: Readable, signal: AbortSignal | undefined): Promise<void> {
    const call = { method: 'PUT', path: dockerPath`/containers/${this.#container}/archive`, query: { path } } as const;
    await this.#docker.upload({ ...call, contentType: TAR_TYPE, signal }, tar);
  }
}

async function importEmptyImage(docker: DockerEngine, labels: Readonly<Record<string, string>>): Promise<string> {
  const tar = pack();
  tar.entry({ name: '.fairlead-helper', mode: 0o444, mtime: new Date(0) }, '');
  tar.finalize();
  const changes = Object.entries(labels).map(([name, value]) => `LABEL ${name}=${value}`);
  const query = { fromSrc: '-', changes: changes.join('\n') };
  const call = { method: 'POST', path: '/images/create', query, contentType: TAR_TYPE } as const;
  const answer = await docker.upload(call, Readable.from(tar));
  const lines = answer.split('\n').filter((line) => line.trim() !== '');
  const { status, error } = asObject(parseDockerJson(lines.at(-1) ?? ''));
  if (typeof status === 'string' && /^sha256:[0-9a-f]{64}$/.test(status)) return status;
  throw new FairleadError('DOCKER_ERROR', `Docker made no image for a helper: ${String(error ?? status)}`);
}

/** Of one that is never started, and of one that is being removed. */
const HELPER_STATES: ReadonlySet<string> = new Set(['created', 'removing', 'dead']);

/** What a helper is called. */
function nameOf(id: string): string {
  return `fairlead-helper-${id}`;
}

/** Whether a container, as Docker lists it, is a helper of `owner`: anybody may set labels, but then it would be something else. */
export function isHelperOf(owner: string, { Names, Labels, State }: Record<string, unknown>): boolean {
  const labels = asObject(Labels ?? {});
  const isNamed = Array.isArray(Names) && Names.includes(`/${nameOf(String(labels[ID_LABEL]))}`);
  return labels[HELPER_LABEL] === owner && HELPER_STATES.has(String(State)) && isNamed;
}

interface ContainerSpec {
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly volume: string;
  readonly id: string;
}

async function createContainer(docker: DockerEngine, { image, labels, volume, id }: ContainerSpec): Promise<string> {
  const mount = { Type: 'volume', Source: volume, Target: `/${MOUNT}`, VolumeOptions: { NoCopy: true } };
  const body = {
    Image: image,
    // There is no such program: nobody can start it by accident.
    Cmd: ['/never-started'],
    Labels: labels,
    NetworkDisabled: true,
    HostConfig: { NetworkMode: 'none', Mounts: [mount] },
  };
  const query = { name: nameOf(id) };
  const call = { method: 'POST', path: '/containers/create', query, body, timeoutMs: BEGIN_MS } as const;
  const { Id } = asObject(await docker.json(call));
  if (typeof Id !== 'string') throw new FairleadError('DOCKER_ERROR', 'Docker gave the helper no id');
  return Id;
}

/** Removes what stands at `path`. @returns whether it is gone */
async function remove(docker: DockerEngine, path: string): Promise<boolean> {
  try {
    await docker.act({ method: 'DELETE', path, query: { force: 1 }, timeoutMs: BEGIN_MS });
    return true;
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return error.code === 'NOT_FOUND' || error.code === 'CONTAINER_NOT_FOUND';
  }
}

/**
 * Removes the helpers that `owner` has left behind.
 * @param isInUse tells helpers that are not left, by their ids
 * @returns how many there were
 */
export async function sweepHelpers(
  docker: DockerEngine,
  owner: string,
  isInUse: (id: string) => boolean,
): Promise<number> {
  const filters = JSON.stringify({ label: [`${HELPER_LABEL}=${owner}`] });
  const list = async (path: string, query: Record<string, string | number>, areaOf: (id: string) => string) => {
    const found = asObjects(await docker.json({ method: 'GET', path, query: { ...query, filters } }));
    return found.flatMap(({ Id, Labels }) => {
      const id = asObject(Labels ?? {})[ID_LABEL];
      return typeof Id !== 'string' || (typeof id === 'string' && isInUse(id)) ? [] : [areaOf(Id)];
    });
  };
  const containers = await list('/containers/json', { all: 1 }, (id) => dockerPath`/containers/${id}`);
  const images = await list('/images/json', { all: 1 }, (id) => dockerPath`/images/${id}`);
  for (const path of [...containers, ...images]) await remove(docker, path);
  return containers.length;
}
