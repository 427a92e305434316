/** What the tests of volumes share: an agent over the real Engine, and what it leaves. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DockerEngine } from '../../../../agent/docker/engine.ts';
import { HELPER_LABEL } from '../../../../agent/docker/volume-helper.ts';
import { Volumes } from '../../../../agent/volumes/volumes.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { DOCKER_SOCKET, dockerApi } from '../../../support/docker.ts';
import { type Cleanup, defer, tempDir } from '../../../support/tmp.ts';
import type { Entry } from '../../../support/volumes.ts';
import { engineAt, SILENT } from '../docker/fake-docker.ts';
import { type Served, serve } from './served.ts';

/** Whether an error is of this code. */
export const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

/** One of every sort of thing that a volume may hold. */
export const ENTRIES: readonly Entry[] = [
  { name: '.', type: 'directory', mode: 0o710, uid: 999, gid: 998 },
  { name: 'a', mode: 0o4750, uid: 1000, gid: 1001, content: Buffer.from('hello') },
  { name: 'big', mode: 0o600, content: randomBytes(3_000_000) },
  { name: 'dir', type: 'directory', mode: 0o1777 },
  { name: 'dir/.wh.x', mode: 0o644, content: Buffer.from('not gone') },
  { name: 'dir/deep', mode: 0o400, content: Buffer.from('x') },
  { name: 'hard', type: 'link', linkname: 'v/a', mode: 0o4750, uid: 1000, gid: 1001 },
  { name: 'pipe', type: 'fifo', mode: 0o600 },
  { name: 'soft', type: 'symlink', linkname: '../elsewhere' },
];

export interface Agent {
  readonly served: Served;
  readonly docker: DockerEngine;
  readonly owner: string;
  readonly directory: string;
}

/** An agent's end with all handlers, over the real Engine. */
export async function anAgent(cleanup: Cleanup, deny: string[] = []): Promise<Agent> {
  const docker = await engineAt(cleanup, DOCKER_SOCKET, undefined, { allow: [], deny });
  const owner = randomUUID();
  const directory = join(await tempDir(cleanup, 'volumes'), 'volumes');
  const volumes = new Volumes({ docker, owner, directory, log: SILENT });
  defer(cleanup, () => volumes.close());
  const served = await serve(cleanup, { docker, volumes, info: { agentVersion: '1' }, log: SILENT });
  return { served, docker, owner, directory };
}

/** How many containers and images an agent has made to reach volumes, and not removed. */
export async function helpersOf({ owner }: Agent): Promise<number> {
  const filters = encodeURIComponent(JSON.stringify({ label: [`${HELPER_LABEL}=${owner}`] }));
  const [containers, images] = await Promise.all([
    dockerApi('GET', `/containers/json?all=1&filters=${filters}`),
    dockerApi('GET', `/images/json?all=1&filters=${filters}`),
  ]);
  return containers.body.length + images.body.length;
}

/** What an agent keeps of transfers. */
export const filesOf = async ({ directory }: Agent) => (await readdir(directory).catch(() => [])).toSorted();
