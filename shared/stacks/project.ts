/** Stacks as Docker knows them: containers with the labels of Compose, whoever has deployed them. */

import { asObjects, type DockerObject } from '../docker/json.ts';
import type { Item } from '../messages/kind.ts';
import type { stackList } from '../messages/stack.ts';
import type { DockerReader } from './docker-reader.ts';

export const PROJECT_LABEL = 'com.docker.compose.project';
const SERVICE_LABEL = 'com.docker.compose.service';
/** Room for some 10,000 containers. */
const MAX_LIST_BYTES = 32 * 1024 * 1024;
const MAX_NAME_CHARS = 255;
const MAX_SERVICES = 1000;

/** Docker's own objects of all containers of a stack, or of all stacks; stopped ones, too. @throws as DockerReader */
export async function containersOf(
  docker: DockerReader,
  stack: string | undefined,
  signal: AbortSignal,
): Promise<DockerObject[]> {
  const label = stack === undefined ? PROJECT_LABEL : `${PROJECT_LABEL}=${stack}`;
  const query = { all: 1, filters: JSON.stringify({ label: [label] }) };
  return asObjects(
    await docker.json({ method: 'GET', path: '/containers/json', query, signal, maxBytes: MAX_LIST_BYTES }),
  );
}

/** A label of a container, as Docker lists it. */
function labelOf({ Labels }: DockerObject, name: string): string {
  const value = typeof Labels === 'object' && Labels !== null ? (Labels as DockerObject)[name] : undefined;
  return typeof value === 'string' ? value.slice(0, MAX_NAME_CHARS) : '';
}

export function serviceOf(container: DockerObject): string {
  return labelOf(container, SERVICE_LABEL);
}

/** The name of a container, without the slash that Docker puts before it. */
export function nameOf({ Names, Id }: DockerObject): string {
  const [first] = Array.isArray(Names) ? (Names as unknown[]) : [];
  return typeof first === 'string' ? first.replace(/^\//, '').slice(0, MAX_NAME_CHARS) : String(Id).slice(0, 12);
}

/** One summary for each stack, by name. */
export function summaries(containers: readonly DockerObject[]): Item<typeof stackList>[] {
  const byStack = Map.groupBy(containers, (container) => labelOf(container, PROJECT_LABEL));
  return [...byStack]
    .filter(([stack]) => stack !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([stack, all]) => ({
      stack,
      services: [...new Set(all.map(serviceOf))].sort().slice(0, MAX_SERVICES),
      containers: all.length,
      running: all.filter(({ State }) => State === 'running').length,
    }));
}
