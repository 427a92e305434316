/** Many agents at once: enrolled straight into the store of a stopped server, run by a few processes. */
import { type ChildProcess, fork } from 'node:child_process';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pino from 'pino';
import { Authority } from '../../server/authority/authority.ts';
import { openStore, type Store } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { restartServer, type Server } from './mesh.ts';
import { type Cleanup, defer, tempDir } from './tmp.ts';

const PROGRAM = fileURLToPath(new URL('fleet-process.ts', import.meta.url));

export interface Fleet {
  /** The server, which was started again with the fleet in its store. */
  server: Server;
  stateDirs: string[];
}

/** Stops the server, puts `count` hosts with certificates into its store, and starts it again on the same ports. */
export async function seedFleet(cleanup: Cleanup, server: Server, count: number): Promise<Fleet> {
  await server.process.stop();
  const root = await tempDir(cleanup, 'fleet');
  const store = await openStore({ dataDir: server.dataDir, clock: systemClock });
  let stateDirs: string[];
  try {
    stateDirs = await seed(store, server, root, count);
  } finally {
    await store.close();
  }
  return { server: await restartServer(cleanup, server, 'stop'), stateDirs };
}

async function seed(store: Store, server: Server, root: string, count: number): Promise<string[]> {
  const log = pino({ level: 'silent' });
  const { settings, certificates } = store;
  const authority = await Authority.open({
    ...{ settings, certificates, log, clock: systemClock },
    dataDir: server.dataDir,
    publicHosts: ['localhost'],
  });
  const stateDirs: string[] = [];
  try {
    for (let i = 0; i < count; i++) {
      const agent = await issue(store, authority, `fleet-${i}`);
      const stateDir = join(root, String(i));
      await writeState(stateDir, server, agent);
      stateDirs.push(stateDir);
    }
  } finally {
    authority.close();
  }
  return stateDirs;
}

export interface SeededAgent {
  hostId: string;
  name: string;
  keyPem: string;
  certPem: string;
}

/** One more host with a certificate of its own, in the store. */
export async function issue(store: Store, authority: Authority, name: string): Promise<SeededAgent> {
  const hostId = randomUUID();
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const { installationId } = authority;
  const cert = await authority.ca.issueAgent({ spki, hostId, installationId, clock: systemClock });
  const now = systemClock.now();
  await store.hosts.insert({
    ...{ id: hostId, name, hostname: name, os: 'linux', arch: process.arch, agentVersion: '0', tags: [] },
    createdAt: now,
  });
  await store.certificates.insert({
    ...{ serial: cert.serial, hostId, spkiPin: cert.spkiPin, issuedAt: now, pem: cert.certPem },
    notBefore: cert.notBefore.getTime(),
    notAfter: cert.notAfter.getTime(),
  });
  return { hostId, name, keyPem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })), certPem: cert.certPem };
}

/** The four files of an agent's state directory. */
async function writeState(dir: string, server: Server, agent: SeededAgent): Promise<void> {
  await mkdir(dir, { mode: 0o700 });
  await writeFile(join(dir, 'key.pem'), agent.keyPem, { mode: 0o600 });
  await writeFile(join(dir, 'cert.pem'), agent.certPem);
  await writeFile(join(dir, 'ca.pem'), server.caPem);
  const { apiUrl, caFingerprint } = server.runtime;
  const agentUrl = new URL('/agent', server.runtime.agentUrl).href;
  const record = { hostId: agent.hostId, name: agent.name, server: apiUrl, agentUrl, caFingerprint };
  await writeFile(join(dir, 'agent.json'), JSON.stringify({ ...record, enrolledAt: new Date().toISOString() }));
}

export interface FleetProcess {
  readonly pid: number;
  /** Stops its agents, and resolves once they are gone. */
  stop(): Promise<void>;
}

/** Runs one agent per state directory in so many processes of equal share. They have no Docker. */
export function startFleet(cleanup: Cleanup, stateDirs: readonly string[], processes: number): FleetProcess[] {
  const share = Math.ceil(stateDirs.length / processes);
  return Array.from({ length: processes }, (_, i) => {
    const child = fork(PROGRAM, stateDirs.slice(i * share, (i + 1) * share), {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    defer(cleanup, () => child.kill('SIGKILL'));
    return { pid: child.pid ?? 0, stop: () => stop(child) };
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  await gone;
}
