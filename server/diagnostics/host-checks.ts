/** What is to be said of the hosts. */
import { type Check, count, named, ok, warn } from '../../shared/doctor/check.ts';
import { NOTABLE_SKEW_MS, skewText } from '../../shared/doctor/clocks.ts';
import { compareVersions } from '../../shared/releases/version-order.ts';
import { VERSION } from '../../shared/version.ts';
import type { SeenHost } from './parts.ts';

const DAY_MS = 24 * 60 * 60_000;
/** Agents renew with more than this part of the life of a certificate left, whatever its length. */
const RENEWED_PART = 0.1;
/** A host that is away for longer is worth a look. */
const AWAY_MS = DAY_MS;

/**
 * @param now ms since 1970
 * @param certLifeMs how long certificates of agents live
 */
export function hostChecks(hosts: readonly SeenHost[], now: number, certLifeMs: number): Check[] {
  const online = hosts.filter(({ state }) => state === 'online');
  return [
    presence(hosts, now),
    quarantine(hosts),
    certificates(hosts, now),
    renewals(online, now, certLifeMs),
    docker(online),
    versions(online),
    clocks(online),
    policies(online),
  ];
}

function presence(hosts: readonly SeenHost[], now: number): Check {
  const of = (wanted: SeenHost['state']) => hosts.filter(({ state }) => state === wanted);
  const [pending, revoked] = [of('pending').length, of('revoked').length];
  const total = hosts.length - revoked;
  const rest = pending === 0 ? '' : `, ${pending} never seen yet`;
  const summary = `${of('online').length} of ${count(total, 'host')} connected${rest}`;
  const away = of('offline').filter(({ lastSeenAt = 0 }) => now - lastSeenAt > AWAY_MS);
  if (away.length === 0) return ok('hosts.presence', summary);
  const names = named(away.map(({ name, lastSeenAt = 0 }) => `${name} (${Math.floor((now - lastSeenAt) / DAY_MS)} d)`));
  return warn(
    'hosts.presence',
    `${summary}; away for more than a day: ${names}`,
    'run `fairlead-agent doctor` on such a host, or `fairlead host rm` if it is gone for good',
  );
}

function quarantine(hosts: readonly SeenHost[]): Check {
  const held = hosts.filter((host) => host.quarantine !== undefined && host.state !== 'revoked');
  if (held.length === 0) return ok('hosts.quarantine', 'no host is in quarantine');
  return warn(
    'hosts.quarantine',
    `in quarantine, as their certificates may be on two machines: ${named(held.map(({ name }) => name))}`,
    'look at both machines, then `fairlead host release HOST` or `fairlead host revoke HOST`',
  );
}

function certificates(hosts: readonly SeenHost[], now: number): Check {
  const expired = hosts.filter(({ state, certificate }) => {
    return state !== 'revoked' && certificate !== undefined && certificate.notAfter <= now;
  });
  if (expired.length === 0) return ok('hosts.certificates', 'no certificate of a host has expired');
  return warn(
    'hosts.certificates',
    `the certificates have expired of ${named(expired.map(({ name }) => name))}`,
    'start their agents, which ask to come back: `fairlead host recoveries` and `host approve`',
  );
}

function renewals(online: readonly SeenHost[], now: number, certLifeMs: number): Check {
  const late = online.filter(({ certificate }) => {
    return certificate !== undefined && certificate.notAfter - now < RENEWED_PART * certLifeMs;
  });
  if (late.length === 0) return ok('hosts.renewals', 'the certificates of all connected hosts are renewed in time');
  const names = named(
    late.map(({ name, certificate }) => `${name} (${new Date(certificate?.notAfter ?? 0).toISOString()})`),
  );
  return warn(
    'hosts.renewals',
    `certificates end soon and were not renewed: ${names}`,
    'look into the log of those agents, and at the room on their disks: `fairlead-agent doctor`',
  );
}

function docker(online: readonly SeenHost[]): Check {
  const without = online.filter((host) => !host.docker.reachable);
  if (without.length === 0) return ok('hosts.docker', 'Docker answers on all connected hosts');
  const names = named(without.map(({ name, docker: { reason } }) => `${name} (${reason ?? 'no reason given'})`));
  return warn(
    'hosts.docker',
    `Docker does not answer on ${names}`,
    'run `fairlead-agent doctor` there: it looks at the socket and who may use it',
  );
}

function versions(online: readonly SeenHost[]): Check {
  const native = online.filter(({ kind }) => kind === 'native');
  const by = (sign: number) => native.filter(({ agentVersion }) => Math.sign(order(agentVersion)) === sign);
  const [older, newer] = [by(-1), by(1)];
  const listed = (hosts: readonly SeenHost[]) =>
    named(hosts.map(({ name, agentVersion }) => `${name} (${agentVersion})`));
  if (newer.length > 0) {
    const summary = `agents are newer than this server (${VERSION}): ${listed(newer)}`;
    return warn('hosts.versions', summary, 'upgrade the server first, then the agents');
  }
  if (older.length === 0) return ok('hosts.versions', `all connected agents are of the server's version, ${VERSION}`);
  const summary = `agents are older than this server (${VERSION}): ${listed(older)}`;
  return warn('hosts.versions', summary, 'upgrade them: one minor version back and forth is supported');
}

/** What is no version in our form cannot be compared. */
function order(version: string): number {
  return /^\d+\.\d+\.\d+/.test(version) ? compareVersions(version, VERSION) : 0;
}

function clocks(online: readonly SeenHost[]): Check {
  const off = online.filter(({ clockSkewMs = 0 }) => Math.abs(clockSkewMs) >= NOTABLE_SKEW_MS);
  if (off.length === 0) return ok('hosts.clocks', "the clocks of all connected hosts agree with this server's");
  const names = named(off.map(({ name, clockSkewMs = 0 }) => `${name} (${skewText(clockSkewMs)})`));
  return warn(
    'hosts.clocks',
    `clocks differ from this server's: ${names}`,
    'set them by NTP (timedatectl set-ntp true); if it is all of them, it is the one of this server',
  );
}

function policies(online: readonly SeenHost[]): Check {
  const mute = online.filter(({ kind, capabilities }) => kind === 'native' && !capabilities.includes('container.list'));
  if (mute.length === 0) return ok('hosts.policies', 'all connected hosts let their containers be listed');
  return warn(
    'hosts.policies',
    `the policy of its owner does not let containers be listed on ${named(mute.map(({ name }) => name))}`,
    'if that is not meant: `--allow` and `--deny` of `fairlead-agent run`, and agent.json, on those hosts',
  );
}
