/** The whole server: the one place that makes its long-lived parts, joins them and takes them down again. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import type { Server } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { writeFileAtomic } from '../shared/atomic-file.ts';
import type { Clock } from '../shared/clock.ts';
import { FairleadError, toWireError } from '../shared/errors.ts';
import { RECONNECT_MIN_MS } from '../shared/limits.ts';
import { MemoryPool } from '../shared/mux/memory-pool.ts';
import { VERSION } from '../shared/version.ts';
import { ApiTokens } from './access/api-tokens.ts';
import { apiTls } from './api-tls.ts';
import { Audit } from './audit/audit.ts';
import type { Authority } from './authority/authority.ts';
import { OfflineRoot } from './authority/offline-root.ts';
import { Rotation } from './authority/rotation.ts';
import { TrustAcks } from './authority/trust-acks.ts';
import { followPin, openAuthority } from './ca.ts';
import type { ServerConfig } from './config.ts';
import { Enrollment } from './enrollment/enrollment.ts';
import { Hosts } from './hosts/hosts.ts';
import { Presence } from './hosts/presence.ts';
import { HostRegistry } from './hosts/registry.ts';
import { reportReplacements } from './hosts/replacements.ts';
import { AgentListener } from './mesh/agent-listener.ts';
import { Metrics } from './metrics.ts';
import { type ListenAddress, publicHosts, url } from './public-hosts.ts';
import { buildApi } from './routes/api.ts';
import { openStore, type Store } from './store/store.ts';

/** Over how long agents spread their return after a stop, in ms, so that they do not come back all at once. */
const RETURN_SPREAD_MS = 3 * RECONNECT_MIN_MS;

export interface AppOptions {
  readonly config: ServerConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  readonly pid: number;
}

export interface AppUrls {
  readonly apiUrl: string;
  readonly agentUrl: string;
}

/** A server that listens. */
export interface App {
  readonly urls: AppUrls;
  readonly caFingerprint: string;
  readonly adminTokenFile: string;
  /** Drains and stops. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the server.
 * @throws FairleadError with one clear sentence; nothing listens and nothing is held then
 */
export async function startApp(options: AppOptions): Promise<App> {
  const closers: (() => Promise<unknown> | unknown)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  try {
    const app = await start(options, closers);
    let closing: Promise<void> | undefined;
    return {
      ...app,
      close: () => {
        closing ??= closeAll();
        return closing;
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function start(options: AppOptions, closers: (() => Promise<unknown> | unknown)[]): Promise<Omit<App, 'close'>> {
  const { config, clock, log } = options;
  // A first start that cannot listen leaves nothing behind; later on, whose data it is comes first.
  if (!existsSync(config.dataDir)) {
    await requireFree('--api-listen', config.apiListen);
    await requireFree('--agent-listen', config.agentListen);
  }
  const store = await openStore({ dataDir: config.dataDir, clock });
  closers.push(() => store.close());
  const runtimeFile = join(config.dataDir, 'runtime.json');
  // What a server that was killed left behind would lead its readers astray.
  await rm(runtimeFile, { force: true });
  const names = await publicHosts(config.publicHosts, [config.apiListen, config.agentListen]);
  const audit = new Audit({ store, clock, log });
  const authority = await openAuthority(options, store, audit, names);
  closers.push(() => authority.close());

  const apiTokens = await openApiTokens(options, store, audit, authority);
  const enrollment = new Enrollment({ store, audit, authority, clock });

  const registry = new HostRegistry();
  const presence = new Presence({ store, registry, clock, log });
  closers.push(() => presence.close());
  closers.push(reportReplacements({ registry, audit, clock, log }));

  const hosts: Hosts = new Hosts({
    store,
    registry,
    clock,
    audit,
    forget: (serials) => {
      for (const serial of serials) authority.active.remove(serial);
    },
    disconnect: (target, code, reason) => agents.disconnect(target, code, reason),
  });
  const rotation = new Rotation({ authority, hosts: store.hostTrust, clock, log });
  const memory = new MemoryPool(config.streamMemoryBytes);
  const agents: AgentListener = new AgentListener({
    memory,
    clock,
    log,
    random: options.random,
    registry,
    serverVersion: VERSION,
    installationId: authority.installationId,
    caPem: authority.trust().clientCaPem,
    trust: new TrustAcks({ authority, store: store.hostTrust, clock }),
    tls: authority.serverTls(),
    isActive: (serial) => authority.active.has(serial),
    refusal: (serial) => hosts.refusal(serial),
    hostName: async (hostId) => (await store.hosts.get(hostId)).name,
    leave: (hostId, reason, address) => hosts.leave(hostId, reason, address),
  });
  closers.push(keepAgentPort(agents, authority));

  const metrics = new Metrics({ registry, clock, store, memory });
  closers.push(() => metrics.close());
  const tls = await apiTls(config, authority);
  let urls: AppUrls = { apiUrl: '', agentUrl: '' };
  const api = await buildApi({
    hosts,
    enrollment,
    apiTokens,
    audit,
    authority,
    rotation,
    offlineRoot: new OfflineRoot({ authority, rotation, clock }),
    metrics,
    ready: () => readiness(store, urls),
    urls: () => urls,
    version: VERSION,
    clock,
    logger: log,
    trustProxy: config.trustProxy,
    ...(tls.options === undefined ? {} : { https: tls.options }),
  });
  closers.push(tls.follow(api.server as unknown as Server));

  const agentPort = await listen('--agent-listen', config.agentListen, (at) => agents.listen(at.host, at.port));
  closers.push(() => agents.close(RETURN_SPREAD_MS));
  const apiPort = await listen('--api-listen', config.apiListen, (at) => listenApi(api, at));
  // Both at once: requests in flight end with their hosts' streams, and no new ones are taken meanwhile.
  const closeAgents = closers.pop();
  closers.push(() => Promise.all([closeAgents?.(), api.close()]));

  const host = names[0] ?? 'localhost';
  const scheme = tls.options === undefined ? 'http' : 'https';
  urls = { apiUrl: url(scheme, host, apiPort), agentUrl: `${url('wss', host, agentPort)}/agent` };
  closers.push(() => rm(runtimeFile, { force: true }));
  const keepRuntime = () => writeRuntime(runtimeFile, { pid: options.pid, ...urls }, authority);
  await keepRuntime();
  closers.push(followPin(authority, log, [keepRuntime, () => apiTokens.repinAdminToken()]));
  const { caFingerprint } = authority;
  log.info({ ...urls, caFingerprint, version: VERSION }, 'the server is ready');
  return { urls, caFingerprint, adminTokenFile: apiTokens.adminTokenFile };
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

/** Whoever waits for the file reads the whole of it or none. */
async function writeRuntime(file: string, runtime: object, { caFingerprint }: Authority): Promise<void> {
  await writeFileAtomic(
    file,
    `${JSON.stringify({ ...runtime, caFingerprint, version: VERSION }, undefined, 2)}\n`,
    0o644,
  );
}

async function openApiTokens(
  { config, clock, log }: AppOptions,
  store: Store,
  audit: Audit,
  authority: Authority,
): Promise<ApiTokens> {
  const apiTokens = new ApiTokens({
    ...{ store, audit, clock, log },
    get caFingerprint() {
      return authority.caFingerprint;
    },
  });
  if (config.resetAdminToken) await apiTokens.resetAdminToken();
  else await apiTokens.ensureAdminToken();
  await apiTokens.repinAdminToken();
  return apiTokens;
}

async function readiness(
  store: Store,
  urls: AppUrls,
): Promise<{ ready: boolean; checks: Record<string, { ok: boolean; detail?: string }> }> {
  const listening = urls.apiUrl !== '';
  const storeCheck = await store.check().then(
    () => ({ ok: true }),
    (error: unknown) => ({ ok: false, detail: toWireError(error).message }),
  );
  const checks = { store: storeCheck, ca: { ok: true }, listeners: { ok: listening } };
  return { ready: storeCheck.ok && listening, checks };
}

/** @throws FairleadError CONFLICT or VALIDATION that names the flag */
async function listen(
  flag: string,
  address: ListenAddress,
  start: (address: ListenAddress) => Promise<number>,
): Promise<number> {
  try {
    return await start(address);
  } catch (cause) {
    const where = `${address.host}:${address.port}`;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'EADDRINUSE') {
      throw new FairleadError('CONFLICT', `${where} is in use by another program: choose another ${flag}`, { cause });
    }
    throw new FairleadError('VALIDATION', `cannot listen on ${where} (${String(code ?? cause)}): see ${flag}`, {
      cause,
    });
  }
}

/** @throws FairleadError as `listen` */
async function requireFree(flag: string, address: ListenAddress): Promise<void> {
  const probe = createServer();
  await listen(flag, address, async (at) => {
    probe.listen({ host: at.host, port: at.port });
    await once(probe, 'listening');
    return at.port;
  });
  probe.close();
  await once(probe, 'close');
}

async function listenApi(api: FastifyInstance, { host, port }: ListenAddress): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    // Fastify takes the scheme for http whatever the server is.
    const listenTextResolver = (address: string) => `the API listens on ${new URL(address).host}`;
    api.listen({ host, port, listenTextResolver }, (error) => (error === null ? resolve() : reject(error)));
  });
  return (api.server.address() as AddressInfo).port;
}
