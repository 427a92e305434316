/** What may speak against carrying a stack to another host: of its file, its volumes, networks and images, and of the target. */
import { readYaml } from '../../shared/compose/yaml.ts';
import type { DockerObject } from '../../shared/docker/json.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { containerList } from '../../shared/messages/container.ts';
import { imageInspect } from '../../shared/messages/image.ts';
import { networkList } from '../../shared/messages/network.ts';
import * as volumes from '../../shared/messages/volume.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { readAll } from './read-all.ts';
import type { StackTarget } from './stacks.ts';

const PROJECT = 'com.docker.compose.project';
export const SERVICE = 'com.docker.compose.service';
const VOLUME = 'com.docker.compose.volume';
export const ONE_OFF = 'com.docker.compose.oneoff';
const CONFIG_HASH = 'com.docker.compose.config-hash';
/** Networks that each Docker has. */
const OWN_NETWORKS: readonly string[] = ['bridge', 'host', 'none'];

export interface MigrationEnds {
  readonly from: StackTarget;
  readonly to: StackTarget;
}

/** A volume that is carried. */
export interface CarriedVolume {
  readonly from: string;
  readonly to: string;
  /** Of the copy. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What of the file does not come along, or is not in it, also of services that do not run; variables are not put in. */
export function fileProblems(compose: string, containers: readonly DockerObject[]): string[] {
  const file = objectOf(readYaml(compose, 'the Compose file').value);
  const problems: string[] = [];
  for (const family of ['volumes', 'networks']) {
    for (const [name, value] of Object.entries(objectOf(file[family]))) {
      const { external } = objectOf(value);
      if (external === undefined || external === false || external === null) continue;
      problems.push(`${family.slice(0, -1)} ${name} is external: the file does not make it`);
    }
  }
  const services = objectOf(file['services']);
  for (const service of new Set(containers.map((one) => labelOf(one, SERVICE)))) {
    if (Object.hasOwn(services, service)) continue;
    problems.push(`service ${service} is not in the file: remove its containers, or deploy with --prune, first`);
  }
  for (const [name, service] of Object.entries(services)) {
    const { volumes: mounts } = objectOf(service);
    for (const mount of Array.isArray(mounts) ? (mounts as unknown[]) : []) {
      const source = bindSource(mount);
      if (source !== undefined) problems.push(`service ${name} binds ${source}: what is there does not come along`);
    }
  }
  return problems;
}

function bindSource(mount: unknown): string | undefined {
  if (typeof mount === 'string') return /^[/~]/.test(mount) && mount.includes(':') ? mount.split(':')[0] : undefined;
  const { type, source } = objectOf(mount);
  return type === 'bind' ? String(source) : undefined;
}

/** The volumes that Compose has made for the stack, and what they become at the target. */
export async function ownVolumes(
  { from, to }: MigrationEnds,
  signal: AbortSignal,
  problems: string[],
): Promise<CarriedVolume[]> {
  const filters = { label: [`${PROJECT}=${from.stack}`] };
  const { items } = await readAll(from.link, volumes.volumeList, { filters }, signal);
  return items.map((volume) => {
    const name = String(volume['Name']);
    const options = Object.keys(objectOf(volume['Options']));
    if (volume['Driver'] !== 'local' || options.length > 0) {
      problems.push(`volume ${name} is not a plain local one: only those are carried`);
    }
    const key = labelOf(volume, VOLUME);
    // One that the file gives a name of its own has it there, too.
    const isNamedAfterStack = name === `${from.stack}_${key}`;
    const isRenamed = to.stack !== from.stack;
    const labels = Object.fromEntries(
      Object.entries(objectOf(volume['Labels']))
        .filter(([label]) => !isRenamed || label !== CONFIG_HASH)
        .map(([label, value]) => [label, label === PROJECT ? to.stack : String(value)]),
    );
    return { from: name, to: isNamedAfterStack ? `${to.stack}_${key}` : name, labels };
  });
}

export function mountProblems(containers: readonly DockerObject[], ours: readonly CarriedVolume[]): string[] {
  const problems = new Set<string>();
  for (const container of containers) {
    const service = labelOf(container, SERVICE);
    const mounts = container['Mounts'];
    for (const mount of Array.isArray(mounts) ? (mounts as unknown[]).map(objectOf) : []) {
      const { Type: type, Name: name, Source: source, Destination: destination } = mount;
      if (type === 'tmpfs') continue;
      if (type !== 'volume') {
        problems.add(`service ${service} binds ${String(source)}: what is there does not come along`);
      } else if (!ours.some((volume) => volume.from === name)) {
        const which = /^[0-9a-f]{64}$/.test(String(name)) ? 'an anonymous volume' : `the volume ${String(name)}`;
        const at = `at ${String(destination)}, which is not one of the stack`;
        problems.add(`service ${service} has ${which} ${at}: name it under volumes in the file`);
      }
    }
  }
  return [...problems];
}

export async function networkProblems(
  { link, stack }: StackTarget,
  containers: readonly DockerObject[],
  signal: AbortSignal,
): Promise<string[]> {
  const used = new Set(
    containers.flatMap(({ NetworkSettings }) => Object.keys(objectOf(objectOf(NetworkSettings)['Networks']))),
  );
  const { items } = await readAll(link, networkList, { filters: { label: [`${PROJECT}=${stack}`] } }, signal);
  const ours = new Set([...OWN_NETWORKS, ...items.map(({ Name }) => String(Name))]);
  const problems = [...used].filter((name) => !ours.has(name)).map((name) => `network ${name} is not one of the stack`);
  const ids = containers.map(({ Id }) => String(Id));
  for (const container of containers) {
    const mode = String(objectOf(container['HostConfig'])['NetworkMode']);
    if (!mode.startsWith('container:') || ids.includes(mode.slice('container:'.length))) continue;
    problems.push(`service ${labelOf(container, SERVICE)} is in the network of a container of others`);
  }
  return problems;
}

export async function lackingImages(
  { from, to }: MigrationEnds,
  containers: readonly DockerObject[],
  signal: AbortSignal,
  problems: string[],
): Promise<string[]> {
  const isAlike = from.link.describe().arch === to.link.describe().arch;
  const used = new Map(containers.map(({ Image, ImageID }) => [String(Image), String(ImageID)]));
  const lackingThere: string[] = [];
  for (const [image, id] of used) {
    if (/^(?:sha256:)?[0-9a-f]{12,64}$/.test(image)) {
      problems.push(`the image ${image} has no name any more: another one has it; deploy the stack again first`);
      continue;
    }
    const there = await idOf(to.link, image, signal);
    if (there === undefined) {
      if (!isAlike) problems.push(`the image ${image} is not of the target's architecture: pull it there first`);
      else if (image.includes('@'))
        problems.push(`the image ${image} is named by its digest: pull it at the target first`);
      else lackingThere.push(image);
    } else if (isAlike && there !== id) {
      problems.push(`the target has another image ${image}: pull it on both hosts, and deploy the stack again, first`);
    }
  }
  return lackingThere;
}

/** Undefined for one that is not there. */
async function idOf(link: HostLink, image: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    return String((await link.call(imageInspect, { id: image }, { signal }))['Id']);
  } catch (error) {
    if (isFairleadError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

export async function targetProblems(
  { from, to }: MigrationEnds,
  containers: readonly DockerObject[],
  ours: readonly CarriedVolume[],
  signal: AbortSignal,
): Promise<string[]> {
  const there = (await readAll(to.link, containerList, { all: true }, signal)).items;
  const problems: string[] = [];
  if (there.some((container) => labelOf(container, PROJECT) === to.stack)) {
    problems.push(`the target has a stack ${to.stack}: remove it, or choose another name`);
  }
  const names = new Set(there.flatMap(namesOf));
  for (const name of containers.flatMap(namesOf)) {
    // Others are made of the name of the stack.
    if (!name.startsWith(from.stack) && names.has(name)) problems.push(`the target has a container ${name}`);
  }
  const taken = new Set(there.flatMap(portsOf));
  const clashes = new Set(containers.flatMap(portsOf).filter((port) => taken.has(port)));
  for (const port of clashes) problems.push(`the port ${port} is in use at the target`);
  const { items } = await readAll(to.link, volumes.volumeList, {}, signal);
  const present = new Set(items.map(({ Name }) => String(Name)));
  for (const { to: name } of ours) if (present.has(name)) problems.push(`the target has a volume ${name}`);
  return problems;
}

function namesOf({ Names }: DockerObject): string[] {
  return Array.isArray(Names) ? (Names as unknown[]).map((name) => String(name).replace(/^\//, '')) : [];
}

/** Published ones, as `80/tcp`, whatever address they are bound to. */
function portsOf({ Ports }: DockerObject): string[] {
  return (Array.isArray(Ports) ? (Ports as unknown[]) : []).map(objectOf).flatMap(({ PublicPort, Type }) => {
    return typeof PublicPort === 'number' ? [`${PublicPort}/${String(Type)}`] : [];
  });
}

export function labelOf({ Labels }: DockerObject, name: string): string {
  const value = objectOf(Labels)[name];
  return typeof value === 'string' ? value : '';
}

function objectOf(value: unknown): DockerObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as DockerObject) : {};
}
