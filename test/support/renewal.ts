/** A server's agents' port over a real store, and agents over real state directories, in one process: both can be killed. */
import { createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import https from 'node:https';
import { join } from 'node:path';
import { type Logger, pino } from 'pino';
import { Credentials } from '../../agent/identity/credentials.ts';
import { KnownRoots } from '../../agent/identity/known-roots.ts';
import { durableFiles, type IdentityFiles } from '../../agent/identity/renewal-journal.ts';
import { loadIdentity, storeIdentity } from '../../agent/identity/state-dir.ts';
import { Renewer } from '../../agent/link/renew.ts';
import { type RunEnd, stayConnected } from '../../agent/link/stay-connected.ts';
import { trustControls } from '../../agent/link/trust-controls.ts';
import { createCsr, readCsr } from '../../certs/csr.ts';
import { normalizeSerial } from '../../certs/serial.ts';
import { Audit } from '../../server/audit/audit.ts';
import { ActiveSerials } from '../../server/authority/active-serials.ts';
import { Hosts } from '../../server/hosts/hosts.ts';
import { HostRegistry } from '../../server/hosts/registry.ts';
import { AgentListener } from '../../server/mesh/agent-listener.ts';
import { openSuccession, type SuccessionParts } from '../../server/renewal/succession.ts';
import { openStore, type Store } from '../../server/store/store.ts';
import { type Clock, systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Hello } from '../../shared/messages/control.ts';
import { type TrustAck, trustUpdate } from '../../shared/messages/trust.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { type TestCa, testCa } from '../unit/certs/fixtures.ts';
import { type Cleanup, defer, tempDir } from './tmp.ts';

const log = pino({ level: 'silent' });
export const ADMIN = { name: 'admin', address: '192.0.2.1' };

/** What outlives a server that is killed. */
export interface Installation {
  readonly ca: TestCa;
  readonly leaf: { readonly key: string; readonly cert: string };
  readonly dataDir: string;
  port: number;
}

export async function newInstallation(cleanup: Cleanup): Promise<Installation> {
  const ca = await testCa();
  const { keyPem, certPem } = await ca.ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  const dataDir = join(await tempDir(cleanup, 'renewal'), 'data');
  return { ca, leaf: { key: keyPem, cert: certPem }, dataDir, port: 0 };
}

export interface ServerOptions {
  readonly clock?: Clock;
  readonly log?: Logger;
  /** Which certificates the server wishes to be renewed. */
  readonly wants?: (serial: string) => boolean;
  /** Stands before or behind each transaction, and may throw there. */
  readonly fault?: (when: 'before' | 'after') => void;
  readonly recoverWithinMs?: number;
  /** The roots and intermediates that count by now; the installation's CA unless given. */
  readonly clientCaPem?: string;
  /** Of agents' certificates, in ms. */
  readonly lifeMs?: number;
}

export interface TestServer extends SuccessionParts {
  readonly store: Store;
  readonly audit: Audit;
  readonly hosts: Hosts;
  readonly registry: HostRegistry;
  readonly listener: AgentListener;
  readonly active: ActiveSerials;
  /** As a kill would: nothing is said to anybody. */
  kill(): Promise<void>;
}

export async function startServer(
  cleanup: Cleanup,
  installation: Installation,
  options: ServerOptions = {},
): Promise<TestServer> {
  const { ca, leaf } = installation;
  const clock = options.clock ?? systemClock;
  const opened = await openStore({ dataDir: installation.dataDir, clock });
  const store = options.fault === undefined ? opened : faulty(opened, options.fault);
  const audit = new Audit({ store, clock, log });
  const active = new ActiveSerials(await store.certificates.active());
  const { lifeMs } = options;
  const authority = {
    installationId: ca.installationId,
    caPem: ca.ca.certPem,
    caFingerprint: ca.ca.fingerprint,
    ca: {
      issueAgent: (request: Parameters<typeof ca.ca.issueAgent>[0]) =>
        ca.ca.issueAgent({ ...request, ...(lifeMs === undefined ? {} : { lifeMs }) }),
    },
    active,
    isTrusted: (pin: string) => pin === ca.ca.fingerprint,
    trust: () => ({ clientCaPem: options.clientCaPem ?? ca.ca.certPem }),
    serverTls: () => leaf,
  };
  const registry = new HostRegistry();
  const succession = await openSuccession({
    ...{ store, audit, clock, log: options.log ?? log, authority, recoverWithinMs: options.recoverWithinMs ?? 0 },
    sessions: () => listener,
    otherwise: (serial) => hosts.refusal(serial),
  });
  const hosts: Hosts = new Hosts({
    ...{ store, registry, clock, audit, forget: succession.forget },
    disconnect: (target, code, reason) => listener.disconnect(target, code, reason),
  });
  const listener: AgentListener = new AgentListener({
    ...{ clock, log: options.log ?? log, random: () => 0, registry, serverVersion: '0.1.0', tls: leaf },
    installationId: ca.installationId,
    caPem: ca.ca.certPem,
    isActive: (serial) => active.has(serial),
    ...succession.admission,
    wantsRenewal: ({ serial }) => options.wants?.(serial) ?? false,
    hostName: async (hostId) => (await store.hosts.get(hostId)).name,
    leave: (hostId, reason, address) => hosts.leave(hostId, reason, address),
  });
  installation.port = await listener.listen('127.0.0.1', installation.port);
  let killed: Promise<void> | undefined;
  const kill = () => {
    killed ??= listener.close(0).then(() => opened.close());
    return killed;
  };
  defer(cleanup, kill);
  return { ...succession, store, audit, hosts, registry, listener, active, kill };
}

function faulty(store: Store, fault: NonNullable<ServerOptions['fault']>): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name !== 'transaction') {
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      }
      return async (work: Parameters<Store['transaction']>[0]) => {
        const result = await target.transaction(async (tables) => {
          const done = await work(tables);
          fault('before');
          return done;
        });
        fault('after');
        return result;
      };
    },
  });
}

/** Enrolls a host past the API. */
export async function enrollHost(
  cleanup: Cleanup,
  { ca, port }: Pick<Installation, 'ca' | 'port'>,
  { store, active }: Pick<TestServer, 'store' | 'active'>,
  options: { name?: string; clock?: Clock; lifeMs?: number } = {},
): Promise<{ stateDir: string; hostId: string; serial: string }> {
  const { name = 'alpha', clock = systemClock, lifeMs } = options;
  const stateDir = await tempDir(cleanup, 'state');
  const hostId = randomUUID();
  const keyPem = newKeyPem();
  const { spki } = await readCsr(await createCsr(createPrivateKey(keyPem)));
  const { installationId } = ca;
  const request = { spki, hostId, installationId, clock, ...(lifeMs === undefined ? {} : { lifeMs }) };
  const { serial, certPem, spkiPin, notBefore, notAfter } = await ca.ca.issueAgent(request);
  const now = clock.now();
  const facts = { hostname: name, os: 'linux', arch: 'x64', agentVersion: '1' };
  await store.hosts.insert({ id: hostId, name, tags: [], createdAt: now, ...facts });
  const validity = { notBefore: notBefore.getTime(), notAfter: notAfter.getTime(), issuedAt: now };
  await store.certificates.insert({ serial, hostId, spkiPin, pem: certPem, ...validity });
  active.add(serial, hostId);
  const record = {
    ...{ hostId, name, server: 'https://127.0.0.1:1', agentUrl: `wss://127.0.0.1:${port}/agent` },
    ...{ caFingerprint: ca.ca.fingerprint, enrolledAt: new Date(now).toISOString() },
  };
  await storeIdentity(stateDir, { keyPem, certPem, caPem: ca.ca.rootPem, record });
  return { stateDir, hostId, serial };
}

export function newKeyPem(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

export interface TestAgent {
  readonly renewer: Renewer;
  readonly ended: Promise<RunEnd>;
  /** What recovery was asked for. */
  readonly recoveries: string[];
  /** As SIGTERM does. */
  stop(): Promise<RunEnd>;
}

const HELLO: Hello = {
  ...{ versions: [1], agentVersion: '1', hostname: 'machine', os: 'linux', arch: 'x64', instanceId: 'instance' },
  ...{ docker: { reachable: false }, capabilities: [trustUpdate.name], policy: { allow: [], deny: [] } },
};

export async function startAgent(
  cleanup: Cleanup,
  stateDir: string,
  options: {
    files?: IdentityFiles;
    onStream?: (stream: MuxStream) => void;
    /** Stands before each acknowledgement of roots that are stored, and may throw there. */
    beforeAck?: (ack: TrustAck) => void;
  } = {},
): Promise<TestAgent> {
  const credentials = await Credentials.load(stateDir, options.files ?? durableFiles);
  const httpsAgent = new https.Agent({ keepAlive: false, maxCachedSessions: 0 });
  const common = { credentials, httpsAgent, clock: systemClock, log, random: () => 0.01 };
  const renewer = new Renewer({ ...common, renewBeforeMs: 1_000 });
  const stop = new AbortController();
  const fetchBundle = async () => {
    throw new FairleadError('NOT_FOUND', 'there is no API here');
  };
  const roots = new KnownRoots(credentials, { stateDir, clock: systemClock, log, fetchBundle });
  const follow = roots.follow.bind(roots);
  roots.follow = async (update) => {
    const ack = await follow(update);
    options.beforeAck?.(ack);
    return ack;
  };
  const recoveries: string[] = [];
  const hello = { ...HELLO, instanceId: randomUUID() };
  const ended = stayConnected(
    {
      ...common,
      renewer,
      controls: trustControls(roots, log),
      recover: async (why) => {
        recoveries.push(why);
        throw new FairleadError('NOT_FOUND', 'there is no recovery here');
      },
      hello: () => hello,
      onStream: options.onStream ?? ((stream) => stream.reset(new FairleadError('UNSUPPORTED', 'no'))),
      onState: () => undefined,
      vitals: {
        load: () => [0, 0, 0],
        streams: () => 0,
        docker: () => ({ reachable: false }),
        onDockerState: () => () => undefined,
      },
    },
    stop.signal,
  );
  const end = () => {
    stop.abort(new FairleadError('SHUTDOWN', 'stopped'));
    return ended;
  };
  defer(cleanup, end);
  return { renewer, ended, recoveries, stop: end };
}

/** The serial of the working pair in a state directory. */
export async function workingSerial(stateDir: string): Promise<string> {
  return normalizeSerial((await loadIdentity(stateDir)).certificate.serialNumber);
}
