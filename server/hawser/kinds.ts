/** Which kinds a host of Hawser serves, and how. */
import { UNARY_CALLS } from '../../shared/docker/unary-calls.ts';
import { containerExecOpen, containerLogStream, containerStats } from '../../shared/messages/container.ts';
import { containerArchiveGet, containerExecRun } from '../../shared/messages/container-streams.ts';
import { dockerRequest, dockerUpgrade } from '../../shared/messages/docker.ts';
import { hostInfo } from '../../shared/messages/host.ts';
import { hostEvents } from '../../shared/messages/host-events.ts';
import { imagePull, imageSave } from '../../shared/messages/image-streams.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import { hostMetrics } from '../../shared/messages/metrics.ts';
import { stackList, stackLogs, stackStatus } from '../../shared/messages/stack.ts';
import { STACK_CHANGE_KINDS, type StackChangeKind } from '../../shared/stacks/change.ts';
import { serveArchiveGet, serveImagePull, serveImageSave } from './archives.ts';
import { serveHostInfo, serveLogStream, serveStats } from './container-streams.ts';
import { serveDockerRequest } from './docker-call.ts';
import { serveDockerUpgrade } from './docker-upgrade.ts';
import { serveExecOpen, serveExecRun } from './exec.ts';
import { serveHostEvents, serveHostMetrics } from './host-feeds.ts';
import { type ServeKind, unsupported } from './kind.ts';
import { serveStackChange } from './stack-change.ts';
import { serveStackList, serveStackLogs, serveStackStatus } from './stack-read.ts';
import { serveUnary } from './unary.ts';

/** A kind's name with what serves it. The map forgets whose parameters that takes; it is looked up by the kind alone. */
function serve<K extends StreamKind>({ name }: K, kind: ServeKind<K>): [string, ServeKind] {
  return [name, kind as unknown as ServeKind];
}

/** By name. */
const SERVED: ReadonlyMap<string, ServeKind> = new Map([
  ...UNARY_CALLS.map((call) => serve(call.kind, serveUnary(call))),
  serve(hostInfo, serveHostInfo),
  serve(hostEvents, serveHostEvents),
  serve(hostMetrics, serveHostMetrics),
  serve(containerStats, serveStats),
  serve(containerLogStream, serveLogStream),
  serve(containerExecOpen, serveExecOpen),
  serve(containerExecRun, serveExecRun),
  serve(containerArchiveGet, serveArchiveGet),
  serve(imagePull, serveImagePull),
  serve(imageSave, serveImageSave),
  serve(dockerRequest, serveDockerRequest),
  serve(dockerUpgrade, serveDockerUpgrade),
  serve(stackList, serveStackList),
  serve(stackStatus, serveStackStatus),
  serve(stackLogs, serveStackLogs),
  ...STACK_CHANGE_KINDS.map((kind) => serve<StackChangeKind>(kind, serveStackChange(kind))),
]);

/** What an agent says that it can do beside requests. */
const NEEDS: Readonly<Record<string, string>> = {
  [containerExecOpen.name]: 'exec',
  [hostMetrics.name]: 'metrics',
  ...Object.fromEntries(STACK_CHANGE_KINDS.map(({ name }) => [name, 'compose'])),
};
/** What gives an agent a capability that it lacks. */
const REMEDIES: Readonly<Record<string, string>> = {
  compose: 'install Docker Compose where the agent runs, and restart it',
};

/** What agents of one mode serve, by what they say that they can do. */
export interface ServedKinds {
  /** The names of the kinds that an agent with these capabilities can serve. */
  names(capabilities: readonly string[]): string[];
  /** What serves a kind, if these agents do. @throws FairleadError UNSUPPORTED that names the capability which this one lacks */
  server(kind: StreamKind, capabilities: readonly string[]): ServeKind | undefined;
}

export const EDGE_KINDS: ServedKinds = {
  names: (capabilities) =>
    [...SERVED.keys()].filter((name) => NEEDS[name] === undefined || capabilities.includes(NEEDS[name])),
  server: ({ name }, capabilities) => {
    const need = NEEDS[name];
    if (need === undefined || capabilities.includes(need)) return SERVED.get(name);
    const remedy = REMEDIES[need] ?? 'a newer agent may have it';
    throw unsupported(`${name}: it does not have the capability ${need}; ${remedy}`);
  },
};
