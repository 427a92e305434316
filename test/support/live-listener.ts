/** The agents' port as the server has it, in this process: real TLS, a real store, and hosts that can be revoked. */
import { generateKeyPairSync, randomUUID, X509Certificate } from 'node:crypto';
import https from 'node:https';
import { pino } from 'pino';
import type { Identity } from '../../agent/identity/state-dir.ts';
import { type Connection, connect } from '../../agent/link/connect.ts';
import { Audit } from '../../server/audit/audit.ts';
import { ActiveSerials } from '../../server/authority/active-serials.ts';
import type { Balancers } from '../../server/doors/balancers.ts';
import { Hosts } from '../../server/hosts/hosts.ts';
import { HostRegistry } from '../../server/hosts/registry.ts';
import { AgentListener } from '../../server/mesh/agent-listener.ts';
import type { UpgradeDoor } from '../../server/mesh/agent-session.ts';
import { openStore, type Store } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Hello } from '../../shared/messages/control.ts';
import { type TestCa, testCa } from '../unit/certs/fixtures.ts';
import { type Cleanup, defer, tempDir } from './tmp.ts';

const log = pino({ level: 'silent' });

export interface LiveListener {
  readonly port: number;
  readonly own: TestCa;
  readonly store: Store;
  readonly active: ActiveSerials;
  readonly hosts: Hosts;
  readonly audit: Audit;
  readonly registry: HostRegistry;
  readonly listener: AgentListener;
  /** One more host, which may connect. */
  enroll(name: string, tags?: string[]): Promise<Identity>;
}

export interface LiveListenerOptions {
  readonly balancers?: Balancers | undefined;
  /** Makes what knows which release each host is to run. */
  readonly upgrades?: (parts: Pick<LiveListener, 'store' | 'registry' | 'audit'>) => Promise<UpgradeDoor>;
}

export async function liveListener(cleanup: Cleanup, options: LiveListenerOptions = {}): Promise<LiveListener> {
  const own = await testCa();
  const leaf = await own.ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  const store = await openStore({ dataDir: await tempDir(cleanup, 'live'), clock: systemClock });
  defer(cleanup, () => store.close());
  const active = new ActiveSerials();
  const registry = new HostRegistry();
  const audit = new Audit({ store, clock: systemClock, log });
  const hosts: Hosts = new Hosts({
    ...{ store, registry, audit, clock: systemClock },
    forget: (serials) => {
      for (const serial of serials) active.remove(serial);
    },
    disconnect: (target, code, reason) => listener.disconnect(target, code, reason),
  });
  const upgrades = await options.upgrades?.({ store, registry, audit });
  const listener: AgentListener = new AgentListener({
    ...(upgrades === undefined ? {} : { upgrades }),
    ...{ clock: systemClock, log, random: Math.random, registry, serverVersion: '0', balancers: options.balancers },
    installationId: own.installationId,
    caPem: own.ca.certPem,
    tls: { key: leaf.keyPem, cert: leaf.certPem },
    isActive: (serial) => active.has(serial),
    refusal: (serial) => hosts.refusal(serial),
    hostName: async (hostId) => (await store.hosts.get(hostId)).name,
    leave: (hostId, reason, address) => hosts.leave(hostId, reason, address),
    isForged: async () => false,
    use: async () => undefined,
    renew: () => Promise.reject(new FairleadError('UNSUPPORTED', 'nothing is renewed here')),
  });
  const port = await listener.listen('127.0.0.1', 0);
  defer(cleanup, () => listener.close(0));
  const parts = { port, own, store, active, hosts, audit, registry, listener };
  return { ...parts, enroll: (name, tags = []) => enroll(parts, name, tags) };
}

async function enroll(
  { port, own, store, active }: Pick<LiveListener, 'port' | 'own' | 'store' | 'active'>,
  name: string,
  tags: string[],
): Promise<Identity> {
  const hostId = randomUUID();
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const issued = await own.ca.issueAgent({ spki, hostId, installationId: own.installationId, clock: systemClock });
  const facts = { hostname: name, os: 'linux', arch: 'x64', agentVersion: '0' };
  await store.transaction(async (tables) => {
    await tables.hosts.insert({ id: hostId, name, tags, createdAt: systemClock.now(), ...facts });
    await tables.certificates.insert({
      ...{ serial: issued.serial, hostId, spkiPin: issued.spkiPin, pem: issued.certPem, issuedAt: systemClock.now() },
      notBefore: issued.notBefore.getTime(),
      notAfter: issued.notAfter.getTime(),
    });
  });
  active.add(issued.serial, hostId);
  const agentUrl = `wss://127.0.0.1:${port}/agent`;
  return {
    record: { hostId, name, server: 'https://127.0.0.1', agentUrl, caFingerprint: own.ca.fingerprint, enrolledAt: '' },
    keyPem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    certPem: issued.certPem,
    caPem: own.ca.certPem,
    certificate: new X509Certificate(issued.certPem),
  };
}

function helloOf(name: string): Hello {
  const policy = { allow: [], deny: [] };
  const facts = { agentVersion: '0', hostname: name, os: 'linux', arch: 'x64', docker: { reachable: false } };
  return { versions: [1], instanceId: randomUUID(), capabilities: [], policy, ...facts };
}

/** Connects as the agent does, from `localAddress`. @throws what the agent's own connect does */
export async function connectAgent(
  identity: Identity,
  options: { localAddress?: string; signal?: AbortSignal; httpsAgent?: https.Agent; hello?: Partial<Hello> } = {},
): Promise<Connection> {
  const { localAddress, signal, hello } = options;
  const agentOptions = { keepAlive: false, maxCachedSessions: 0, ...(localAddress ? { localAddress } : {}) };
  return await connect({
    identity,
    clock: systemClock,
    hello: { ...helloOf(identity.record.name), ...hello },
    onStream: (stream) => stream.finish(),
    httpsAgent: options.httpsAgent ?? new https.Agent(agentOptions),
    ...(signal === undefined ? {} : { signal }),
  });
}
