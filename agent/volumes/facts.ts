/** What the agent asks Docker about a volume before it reads or changes it. */

import { dockerPath } from '../../shared/docker/call.ts';
import { asObject, asObjects } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { VolumeMake } from '../../shared/messages/volume-content.ts';
import type { DockerEngine } from '../docker/engine.ts';
import { isHelperOf, type VolumeHelper } from '../docker/volume-helper.ts';
import { visitEntries } from './tar.ts';

const MAX_LIST_BYTES = 32 * 1024 * 1024;
/** How many containers a refusal names. */
const MAX_NAMED = 5;
/** Docker measures all that it has when it is asked for one size; it may be busy with that already. */
const SIZE_MS = 10_000;
/** What file systems have in a directory that nobody has put anything into. */
const NOTHING: ReadonlySet<string> = new Set(['', '.', 'lost+found']);

/** States of containers that write nothing. */
const AT_REST: ReadonlySet<string> = new Set(['created', 'exited', 'dead']);

export interface VolumeFacts {
  readonly make: VolumeMake;
  /** ms since 1970; undefined where Docker does not say. */
  readonly createdAt: number | undefined;
}

/** A container that refers to a volume. */
export interface VolumeUser {
  readonly name: string;
  readonly isRunning: boolean;
}

/** What Docker knows of a volume; undefined if there is none of this name. */
export async function findVolume(
  docker: DockerEngine,
  volume: string,
  signal?: AbortSignal,
): Promise<VolumeFacts | undefined> {
  try {
    const path = dockerPath`/volumes/${volume}`;
    const { Driver, Options, Labels, CreatedAt } = asObject(await docker.json({ method: 'GET', path, signal }));
    const createdAt = Date.parse(String(CreatedAt));
    return {
      make: { driver: String(Driver ?? 'local'), options: texts(Options), labels: texts(Labels) },
      createdAt: Number.isNaN(createdAt) ? undefined : createdAt,
    };
  } catch (error) {
    if (isFairleadError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

/** @throws FairleadError NOT_FOUND */
export async function getVolume(docker: DockerEngine, volume: string, signal?: AbortSignal): Promise<VolumeFacts> {
  const found = await findVolume(docker, volume, signal);
  if (found === undefined) throw new FairleadError('NOT_FOUND', `there is no volume ${volume} on this host`);
  return found;
}

function texts(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name, String(text)]));
}

/** Makes a volume. */
export async function makeVolume(docker: DockerEngine, volume: string, make: VolumeMake): Promise<void> {
  const body = { Name: volume, Driver: make.driver, DriverOpts: make.options, Labels: make.labels };
  await docker.json({ method: 'POST', path: '/volumes/create', body });
}

/** Removes a volume. @throws FairleadError CONFLICT while a container refers to it */
export async function removeVolume(docker: DockerEngine, volume: string): Promise<void> {
  await docker.act({ method: 'DELETE', path: dockerPath`/volumes/${volume}` });
}

/** The containers that refer to a volume, the helpers of `owner` aside. */
export async function usersOf(
  docker: DockerEngine,
  owner: string,
  volume: string,
  signal?: AbortSignal,
): Promise<VolumeUser[]> {
  const query = { all: 1, filters: JSON.stringify({ volume: [volume] }) };
  const call = { method: 'GET', path: '/containers/json', query, signal, maxBytes: MAX_LIST_BYTES } as const;
  return asObjects(await docker.json(call)).flatMap((container) => {
    const { Id, Names, State, Mounts } = container;
    const mounts = Array.isArray(Mounts) ? Mounts.map(asObject) : [];
    if (isHelperOf(owner, container) || !mounts.some(({ Name }) => Name === volume)) return [];
    const [name = String(Id)] = Array.isArray(Names) ? Names.map(String) : [];
    return [{ name: name.replace(/^\//, ''), isRunning: !AT_REST.has(String(State)) }];
  });
}

/** @throws FairleadError CONFLICT that names them, if there are any */
export function refuseUsers(volume: string, users: readonly VolumeUser[], advice: string): void {
  if (users.length === 0) return;
  const names = users.slice(0, MAX_NAMED).map(({ name }) => name);
  const more = users.length > MAX_NAMED ? ` and ${users.length - MAX_NAMED} more` : '';
  const who = `${names.join(', ')}${more}`;
  throw new FairleadError('CONFLICT', `the volume ${volume} is used by ${who}: ${advice}`);
}

/** Whether nothing is in the volume. */
export async function isEmpty(helper: VolumeHelper, signal?: AbortSignal): Promise<boolean> {
  const tar = await helper.read('.', signal);
  let found = false;
  try {
    await visitEntries(tar, ({ name }) => {
      found = !NOTHING.has(name.replace(/^\.\//, '').replace(/\/$/, ''));
      return !found;
    });
  } finally {
    tar.destroy();
  }
  return !found;
}

/** About how many bytes are in a volume; undefined where Docker does not say so soon. */
export async function sizeOf(docker: DockerEngine, volume: string, signal: AbortSignal): Promise<number | undefined> {
  try {
    const call = { method: 'GET', path: '/system/df', timeoutMs: SIZE_MS, signal, maxBytes: MAX_LIST_BYTES } as const;
    const { Volumes } = asObject(await docker.json(call));
    const found = asObjects(Volumes ?? []).find(({ Name }) => Name === volume);
    const size = Number(asObject(found?.['UsageData'] ?? {})['Size']);
    return Number.isSafeInteger(size) && size >= 0 ? size : undefined;
  } catch (error) {
    signal.throwIfAborted();
    // A guess that is lacking keeps nobody from copying.
    if (isFairleadError(error)) return undefined;
    throw error;
  }
}
