/** All that concerns the hosts: how they join, who is connected, what becomes of their certificates, and their port. */
import { MemoryPool } from '../shared/mux/memory-pool.ts';
import { VERSION } from '../shared/version.ts';
import { PasswordHasher } from './access/password-hash.ts';
import type { Authority } from './authority/authority.ts';
import { Rotation } from './authority/rotation.ts';
import { TrustAcks } from './authority/trust-acks.ts';
import { readTrustedReleaseKeys } from './config.ts';
import { Enrollment } from './enrollment/enrollment.ts';
import type { CutOff } from './enrollment/take-over.ts';
import { Events } from './events/events.ts';
import { Adoption } from './hawser/adoption.ts';
import { HawserEdge } from './hawser/edge.ts';
import { HostOfToken } from './hawser/host-of-token.ts';
import { StandardHosts } from './hawser/standard/standard-hosts.ts';
import { HASHES, TokenCheck } from './hawser/token-check.ts';
import { HawserTokens } from './hawser/tokens.ts';
import { HostMetrics } from './host-metrics/host-metrics.ts';
import { AgentRefusals } from './hosts/agent-refusals.ts';
import { Hosts } from './hosts/hosts.ts';
import { Presence } from './hosts/presence.ts';
import { HostRegistry } from './hosts/registry.ts';
import { reportReplacements } from './hosts/replacements.ts';
import { AgentListener } from './mesh/agent-listener.ts';
import type { UpgradeDoor } from './mesh/agent-session.ts';
import type { PartOptions } from './parts.ts';
import type { Records } from './records.ts';
import { Releases } from './releases/releases.ts';
import { openSuccession, type SuccessionParts } from './renewal/succession.ts';
import { Rollouts } from './rollouts/rollouts.ts';
import type { HostMetricRows } from './store/host-metrics.ts';
import { HostUpgrades } from './upgrades/host-upgrades.ts';
import { upgradeDoor } from './upgrades/upgrade-door.ts';
import { VolumeTransfers } from './volumes/volume-transfers.ts';

export interface Fleet {
  readonly registry: HostRegistry;
  readonly hosts: Hosts;
  readonly enrollment: Enrollment;
  readonly succession: SuccessionParts;
  readonly rotation: Rotation;
  readonly events: Events;
  readonly hostMetrics: HostMetrics;
  readonly volumeTransfers: VolumeTransfers;
  readonly releases: Releases;
  readonly upgrades: HostUpgrades;
  readonly rollouts: Rollouts;
  /** What the streams of all agents may take together. */
  readonly memory: MemoryPool;
  /** Does not listen yet. */
  readonly agents: AgentListener;
  readonly hawser: HawserParts;
  /** Shared by all who check what people or agents know, since it takes much of the machine. */
  readonly hasher: PasswordHasher;
}

/** Agents of Hawser, whichever side dials. */
export interface HawserParts {
  readonly tokens: HawserTokens;
  /** Undefined where they may not. */
  readonly edge: HawserEdge | undefined;
  readonly adoption: Adoption;
  /** Those that listen, and are dialled. */
  readonly hosts: StandardHosts;
}

/** @throws FairleadError STORE_UNAVAILABLE */
export async function openFleet(options: PartOptions, { store, audit, authority }: Records): Promise<Fleet> {
  const { config, clock, log, random, closers } = options;
  const cutOff: CutOff = (hostId, serials, reason) => {
    succession.forget(serials);
    for (const serial of serials) agents.disconnect({ hostId, serial }, 'CERT_REVOKED', reason);
  };
  const enrollment = new Enrollment({ store, audit, authority, clock, cutOff });
  const registry = new HostRegistry();
  const presence = new Presence({ store, registry, clock, log });
  closers.push(() => presence.close());
  closers.push(reportReplacements({ registry, audit, clock, log }));

  const succession = await openSuccession({
    ...{ store, audit, clock, log, authority, recoverWithinMs: config.recoverWithinMs },
    sessions: () => agents,
    otherwise: (serial) => hosts.refusal(serial),
  });
  const hosts: Hosts = new Hosts({
    ...{ store, registry, clock, audit },
    upgradeOf: (hostId) => upgrades.find(hostId),
    forget: succession.forget,
    disconnect: (target, code, reason) => {
      agents.disconnect(target, code, reason);
      // Whose certificate it is about is no agent of Hawser.
      if (target.serial !== undefined) return;
      edge?.disconnect(target, code, reason);
      dialled.disconnect(target.hostId, reason);
    },
  });
  const events = await Events.open({
    ...{ store, audit, registry, hosts, clock, random, log, policy: config.events },
    ...{ secrets: authority.secrets, webhooksLinkLocal: config.webhookLinkLocal },
  });
  closers.push(() => events.close());
  const { releases, upgrades, door } = await openUpgrades(options, { store, audit }, { registry, hosts, events });
  const rollouts = await Rollouts.open({
    ...{ store, upgrades, releases, audit, registry, hosts, clock, log, random, tell: events.tell.bind(events) },
  });
  closers.push(() => rollouts.close());
  const hostMetrics = openHostMetrics(options, store.hostMetrics, registry, hosts);
  const rotation = new Rotation({
    ...{ authority, hosts: store.hostTrust, operatorCertificates: store.operatorCertificates, clock, log },
  });
  const hostName = async (hostId: string) => (await store.hosts.get(hostId)).name;
  const refusals = new AgentRefusals({ audit, clock, hostName });
  closers.push(() => refusals.close());
  const memory = new MemoryPool(config.streamMemoryBytes);
  const hasher = new PasswordHasher();
  const hawserTokens = new HawserTokens({ store, audit, clock, log, hasher });
  const adoption = new Adoption({
    ...{ store, audit, clock, log, registry, enrollment, tokens: hawserTokens, cutOff },
    stopDialling: (hostId, reason) => dialled.disconnect(hostId, reason),
  });
  closers.push(() => adoption.close());
  const agents: AgentListener = openAgentPort(
    options,
    { store, authority },
    { memory, registry, hosts, succession, adoption, door, refusals, hostName },
  );
  const volumeTransfers = await VolumeTransfers.open({ store, registry, audit, clock, log, random });
  closers.push(() => volumeTransfers.close());
  const edge = openEdge(options, { store, audit }, { registry, memory, tokens: hawserTokens, refusals });
  const { secrets } = authority;
  const dialled = await StandardHosts.open({
    ...{ store, audit, secrets, registry, clock, random, log, memory, requestMs: config.hawserRequestMs },
  });
  closers.push(() => dialled.close());
  return {
    ...{ registry, hosts, enrollment, succession, rotation, events, hostMetrics, volumeTransfers, memory, agents },
    ...{ releases, upgrades, rollouts, hawser: { tokens: hawserTokens, edge, adoption, hosts: dialled }, hasher },
  };
}

function openEdge(
  { config, clock, log, closers }: PartOptions,
  { store, audit }: Pick<Records, 'store' | 'audit'>,
  parts: Pick<Fleet, 'registry' | 'memory'> & Pick<HawserParts, 'tokens'> & { readonly refusals: AgentRefusals },
): HawserEdge | undefined {
  const { registry, memory, tokens, refusals } = parts;
  if (!config.hawser) return undefined;
  const edge = new HawserEdge({
    ...{ clock, log, registry, tokens, memory, requestMs: config.hawserRequestMs },
    // Anybody may say hello: whoever signs in, or makes a token, does not wait behind those who do.
    check: new TokenCheck({ store, clock, hasher: new PasswordHasher(undefined, HASHES), log }),
    hostOf: new HostOfToken({ store, audit, clock }),
    onRefused: (refusal) => refusals.report(refusal),
  });
  closers.push(() => edge.close());
  return edge;
}

/** Releases of the agent, and which of them each host is to run; that goes with the host. */
async function openUpgrades(
  { config, clock, log, closers }: PartOptions,
  { store, audit }: Pick<Records, 'store' | 'audit'>,
  { registry, hosts, events }: Pick<Fleet, 'registry' | 'hosts' | 'events'>,
): Promise<{ releases: Releases; upgrades: HostUpgrades; door: UpgradeDoor }> {
  const keys = await readTrustedReleaseKeys(config);
  const releases = await Releases.open({ store, audit, clock, log, keys });
  const tell = events.tell.bind(events);
  const upgrades = await HostUpgrades.open({ store, audit, registry, releases, clock, log, tell });
  closers.push(() => upgrades.close());
  hosts.onScopeChange((hostId, tags) => {
    if (tags === undefined) void upgrades.forget(hostId);
  });
  return { releases, upgrades, door: upgradeDoor({ releases, upgrades, clock, log }) };
}

/** Has hosts say what they use; what is known of a host goes with it. */
function openHostMetrics(
  options: PartOptions,
  rows: HostMetricRows,
  registry: HostRegistry,
  hosts: Hosts,
): HostMetrics {
  const { config, clock, log, random, closers } = options;
  const hostMetrics = new HostMetrics({ rows, registry, clock, log, random, config: config.metrics });
  closers.push(() => hostMetrics.close());
  hosts.onScopeChange((hostId, tags) => {
    if (tags === undefined) hostMetrics.forget(hostId);
  });
  return hostMetrics;
}

interface AgentPortParts extends Pick<Fleet, 'memory' | 'registry' | 'hosts' | 'succession'> {
  readonly adoption: Adoption;
  readonly door: UpgradeDoor;
  readonly refusals: AgentRefusals;
  hostName(hostId: string): Promise<string>;
}

/** The agents' port, which does not listen yet, and keeps to the current leaf and the current trust. */
function openAgentPort(
  { config, clock, log, random, closers }: PartOptions,
  { store, authority }: Pick<Records, 'store' | 'authority'>,
  { memory, registry, hosts, succession, adoption, door, refusals, hostName }: AgentPortParts,
): AgentListener {
  const agents = new AgentListener({
    ...{ memory, clock, log, random, registry, hostName, adoption },
    serverVersion: VERSION,
    installationId: authority.installationId,
    caPem: authority.trust().clientCaPem,
    issuers: authority.trust().issuers,
    trust: new TrustAcks({ authority, store: store.hostTrust, clock }),
    tls: authority.serverTls(),
    isActive: (serial) => authority.active.has(serial),
    ...succession.admission,
    wantsRenewal: (identity) => authority.wantsRenewal(identity),
    onRefused: (refusal) => refusals.report(refusal),
    leave: (hostId, reason, address) => hosts.leave(hostId, reason, address),
    upgrades: door,
    balancers: config.balancers,
  });
  closers.push(keepAgentPort(agents, authority));
  return agents;
}

/** Keeps the agents' port on the current leaf and the current trust. @returns a function that stops it */
function keepAgentPort(agents: AgentListener, authority: Authority): () => void {
  const stopTls = authority.onServerTls((tls) => agents.setTls(tls));
  const stopTrust = authority.onTrust(({ clientCaPem, issuers }) => agents.setTrust({ caPem: clientCaPem, issuers }));
  return () => {
    stopTls();
    stopTrust();
  };
}
