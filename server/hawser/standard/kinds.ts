/** Which kinds a host serves whose agent listens: as in Edge mode, but for what HTTP can do better, and what only Edge has. */
import { containerExecOpen, containerStats } from '../../../shared/messages/container.ts';
import { containerArchivePut, containerExecRun } from '../../../shared/messages/container-streams.ts';
import { dockerRequest, dockerUpgrade } from '../../../shared/messages/docker.ts';
import { imageLoad } from '../../../shared/messages/image-streams.ts';
import type { StreamKind } from '../../../shared/messages/kind.ts';
import { hostMetrics } from '../../../shared/messages/metrics.ts';
import type { ServeKind } from '../kind.ts';
import { EDGE_KINDS, type ServedKinds } from '../kinds.ts';
import { serveStandardRequest, serveStandardUpgrade } from './docker-exchange.ts';
import { serveStandardExecOpen, serveStandardExecRun } from './exec.ts';
import type { ServeStandard } from './kind.ts';
import { serveStandardStats } from './stats.ts';
import { serveArchivePut, serveImageLoad } from './uploads.ts';

function serve<K extends StreamKind>({ name }: K, kind: ServeStandard<K>): [string, ServeKind] {
  return [name, kind as unknown as ServeKind];
}

/** By name. */
const OWN: ReadonlyMap<string, ServeKind> = new Map([
  serve(containerStats, serveStandardStats),
  serve(containerExecOpen, serveStandardExecOpen),
  serve(containerExecRun, serveStandardExecRun),
  serve(containerArchivePut, serveArchivePut),
  serve(imageLoad, serveImageLoad),
  serve(dockerRequest, serveStandardRequest),
  serve(dockerUpgrade, serveStandardUpgrade),
]);

/** What nobody tells who does not ask for it: an agent that listens measures nothing. */
const EDGE_ONLY: ReadonlySet<string> = new Set([hostMetrics.name]);

export const STANDARD_KINDS: ServedKinds = {
  names: (capabilities) => [
    ...new Set([...OWN.keys(), ...EDGE_KINDS.names(capabilities).filter((name) => !EDGE_ONLY.has(name))]),
  ],
  server: (kind, capabilities) => {
    if (EDGE_ONLY.has(kind.name)) return undefined;
    return OWN.get(kind.name) ?? EDGE_KINDS.server(kind, capabilities);
  },
};
