/** All that the server can say of its own state, for `fairlead doctor` and support bundles. */
import { isIP } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { type Check, ok, warn, worstOf } from '../../shared/doctor/check.ts';
import type { Diagnostics } from '../../shared/doctor/diagnostics.ts';
import { sizeText } from '../../shared/doctor/disk.ts';
import { VERSION } from '../../shared/version.ts';
import { SCHEMA_VERSION } from '../store/migrate.ts';
import { certificateChecks } from './certificate-checks.ts';
import { shownConfiguration } from './configuration.ts';
import { hostChecks } from './host-checks.ts';
import type { DiagnosticParts, SeenHost } from './parts.ts';
import { recordChecks } from './record-checks.ts';
import { releaseChecks } from './release-checks.ts';

const PAGE_HOSTS = 200;
/** Of the memory of streams; beyond 80 % they go on with less. */
const MEMORY_WARN_PART = 0.8;

/** Looks at everything once. Takes as long as the store needs to list the hosts. */
export async function diagnose(parts: DiagnosticParts): Promise<Diagnostics> {
  const now = parts.clock.now();
  const checks = [
    version(parts, now),
    publicName(parts),
    memory(parts),
    ...(await certificateChecks(parts, now)),
    ...(await recordChecks(parts, now)),
    ...(await releaseChecks(parts)),
    ...hostChecks(await seenHosts(parts), now, parts.config.agentCertLifeMs),
  ];
  return {
    worst: worstOf(checks),
    checks,
    version: VERSION,
    schemaVersion: SCHEMA_VERSION,
    installationId: parts.authority.installationId,
    time: new Date(now).toISOString(),
    startedAt: new Date(parts.startedAt).toISOString(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    ...parts.urls(),
    configuration: shownConfiguration(parts.config),
  };
}

async function seenHosts({ hosts, registry }: DiagnosticParts): Promise<SeenHost[]> {
  const seen: SeenHost[] = [];
  let cursor: string | undefined;
  do {
    const page = await hosts.list({ limit: PAGE_HOSTS, ...(cursor === undefined ? {} : { cursor }) });
    for (const host of page.items) {
      seen.push({ ...host, clockSkewMs: registry.link(host.id)?.describe().clockSkewMs });
    }
    cursor = page.nextCursor;
    // Others have their turn between two pages.
    await setImmediate();
  } while (cursor !== undefined);
  return seen;
}

function version({ startedAt }: DiagnosticParts, now: number): Check {
  const hours = Math.floor((now - startedAt) / 3_600_000);
  return ok('server', `fairlead-server ${VERSION} on Node.js ${process.version}, up for ${hours} h`);
}

/** Agents dial what they were told at enrollment. */
function publicName({ urls }: DiagnosticParts): Check {
  const { apiUrl, agentUrl } = urls();
  const summary = `the API is handed out as ${apiUrl}, the agents' port as ${agentUrl}`;
  const { hostname } = new URL(agentUrl);
  const isLocal =
    hostname === 'localhost' || (isIP(hostname) === 4 && hostname.startsWith('127.')) || hostname === '[::1]';
  if (!isLocal) return ok('names', summary);
  return warn(
    'names',
    `${summary}: only this machine can reach it`,
    'start the server with --public-host NAME for other hosts',
  );
}

function memory({ memory: { usedBytes, totalBytes } }: DiagnosticParts): Check {
  const summary = `streams of agents take ${sizeText(usedBytes)} of ${sizeText(totalBytes)}`;
  if (usedBytes < MEMORY_WARN_PART * totalBytes) return ok('memory', summary);
  return warn(
    'memory',
    summary,
    'give them more by --stream-memory, or end what goes on: new streams may be OVERLOADED',
  );
}
