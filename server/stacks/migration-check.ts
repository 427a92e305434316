/** Whether a stack can be carried to another host, found out before anything is touched: all that speaks against it at once. */
import type { DockerObject } from '../../shared/docker/json.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { containerList } from '../../shared/messages/container.ts';
import { imageInspect } from '../../shared/messages/image.ts';
import { imageLoad, imageSave } from '../../shared/messages/image-streams.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import { networkList } from '../../shared/messages/network.ts';
import type { StackState } from '../../shared/messages/stack.ts';
import * as kinds from '../../shared/messages/stack.ts';
import * as volumes from '../../shared/messages/volume.ts';
import * as transfers from '../../shared/messages/volume-content.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { StackKey } from '../store/stack-revisions.ts';
import type { HeldStacks } from './going-changes.ts';
import {
  type CarriedVolume,
  fileProblems,
  labelOf,
  lackingImages,
  type MigrationEnds,
  mountProblems,
  networkProblems,
  ONE_OFF,
  ownVolumes,
  SERVICE,
  targetProblems,
} from './migration-problems.ts';
import type { StackContent } from './revisions.ts';
import type { Stacks, StackTarget } from './stacks.ts';

/** Of an error that lists what speaks against it. */
const MAX_PROBLEMS = 30;

const AT_SOURCE: readonly StreamKind[] = [
  ...[kinds.stackStatus, kinds.stackStop, kinds.stackScale, kinds.stackRemove],
  ...[volumes.volumeList, networkList, imageInspect, transfers.volumeTransferSend, imageSave],
];
const AT_TARGET: readonly StreamKind[] = [
  ...[kinds.stackStatus, kinds.stackStop, kinds.stackDeploy, kinds.stackRemove, containerList, imageInspect],
  ...[volumes.volumeList, volumes.volumeInspect, volumes.volumeCreate, volumes.volumeRemove],
  ...[transfers.volumeTransferPrepare, transfers.volumeTransferReceive, transfers.volumeTransferApply, imageLoad],
];

/** What a migration will do. */
export interface MigrationPlan {
  /** The revision at the source. */
  readonly revision: number;
  readonly content: StackContent;
  /** What there is of it at the source. */
  readonly state: StackState;
  /** How many containers run of each service, of those that run. */
  readonly running: Readonly<Record<string, number>>;
  readonly volumes: readonly CarriedVolume[];
  /** Images that the target lacks. */
  readonly images: readonly string[];
}

/** @throws FairleadError NOT_FOUND for a stack that is not managed, CONFLICT with all that speaks against it */
export async function planMigration(
  stacks: Pick<Stacks, 'revisions' | 'status' | 'composeOf'>,
  ends: MigrationEnds,
  { by, held, signal }: { readonly by: string; readonly held: HeldStacks; readonly signal: AbortSignal },
): Promise<MigrationPlan> {
  const { from, to } = ends;
  const containers = (await stacks.status(from, signal)).containers.filter(isOfService);
  const key = { hostId: from.link.hostId, stack: from.stack };
  const current = await stacks.revisions.current(key);
  if (current === undefined) {
    const detail = `there is no stack ${from.stack} that was deployed by Fairlead on this host: deploy its file first`;
    throw new FairleadError('NOT_FOUND', detail);
  }
  const problems: string[] = [];
  problems.push(...(await newestProblems(stacks, key)));
  problems.push(...lacking('source', from.link, AT_SOURCE), ...lacking('target', to.link, AT_TARGET));
  const content = await stacks.revisions.content(key, current.number);
  const ours = await findProblems(ends, { compose: content.compose, containers }, problems, signal);
  problems.push(...(await takenProblems(stacks, to)));
  // It must not be asked where there may be such a stack: it would be stopped.
  if (problems.length === 0) {
    const asked = () => stacks.composeOf(to, content, { by, held, signal });
    await lookAt('Compose of the target', asked, '', problems, signal);
  }
  if (problems.length > 0) throw refusal(from.stack, problems);
  return { revision: current.number, content, ...servicesOf(containers), ...ours };
}

/** What a part of the check finds; what it fails with is a problem, too. */
async function lookAt<T>(
  what: string,
  work: () => Promise<T>,
  otherwise: T,
  problems: string[],
  signal: AbortSignal,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isFairleadError(error) || signal.aborted) throw error;
    problems.push(`${what}: ${error.message}`);
    return otherwise;
  }
}

/** Looks at all that the stack is made of, on both hosts. */
async function findProblems(
  ends: MigrationEnds,
  { compose, containers }: { readonly compose: string; readonly containers: readonly DockerObject[] },
  problems: string[],
  signal: AbortSignal,
): Promise<Pick<MigrationPlan, 'volumes' | 'images'>> {
  const look = <T>(what: string, work: () => Promise<T>, otherwise: T) =>
    lookAt(what, work, otherwise, problems, signal);
  problems.push(...fileProblems(compose, containers));
  const ours = await look('volumes of the source', () => ownVolumes(ends, signal, problems), []);
  problems.push(...mountProblems(containers, ours));
  problems.push(...(await look('networks of the source', () => networkProblems(ends.from, containers, signal), [])));
  const images = await look('images', () => lackingImages(ends, containers, signal, problems), []);
  problems.push(...(await look('the target', () => targetProblems(ends, containers, ours, signal), [])));
  return { volumes: ours, images };
}

type KnownRevisions = Pick<Stacks, 'revisions'>;

async function newestProblems({ revisions }: KnownRevisions, { hostId, stack }: StackKey): Promise<string[]> {
  const all = (await revisions.latest(hostId)).filter((one) => one.stack === stack);
  const [newest] = all.toSorted((a, b) => b.number - a.number);
  if (newest?.state === 'deployed') return [];
  return [`its newest revision, ${newest?.number}, is ${newest?.state}: deploy it, or roll it back, first`];
}

async function takenProblems({ revisions }: KnownRevisions, { link, stack }: StackTarget): Promise<string[]> {
  const isTaken = (await revisions.latest(link.hostId)).some((one) => one.stack === stack);
  return isTaken ? [`the target has revisions of a stack ${stack}: remove it, or choose another name`] : [];
}

/** Not one that `compose run` has made, which is no part of what is deployed. */
function isOfService(container: DockerObject): boolean {
  return labelOf(container, ONE_OFF).toLowerCase() !== 'true';
}

function servicesOf(containers: readonly DockerObject[]): Pick<MigrationPlan, 'state' | 'running'> {
  const state: StackState = {};
  const running: Record<string, number> = {};
  for (const [service = '', all] of Map.groupBy(containers, (one) => labelOf(one, SERVICE))) {
    const count = all.filter(({ State }) => State === 'running').length;
    state[service] = { containers: all.length, runs: count > 0 };
    if (count > 0) running[service] = count;
  }
  return { state, running };
}

function refusal(stack: string, problems: readonly string[]): FairleadError {
  const shown = problems.slice(0, MAX_PROBLEMS).map((problem, index) => `(${index + 1}) ${problem}`);
  const more = problems.length > MAX_PROBLEMS ? `; and ${problems.length - MAX_PROBLEMS} more` : '';
  const detail = `the stack ${stack} cannot be migrated, and nothing was touched: ${shown.join('; ')}${more}`;
  return new FairleadError('CONFLICT', detail);
}

function lacking(end: string, link: HostLink, needed: readonly StreamKind[]): string[] {
  const { capabilities } = link.describe();
  const missing = needed.map(({ name }) => name).filter((name) => !capabilities.includes(name));
  if (missing.length === 0) return [];
  return [`the ${end} does not serve ${missing.join(', ')}: see its policy, or upgrade its agent`];
}
