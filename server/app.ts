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
import { Logins } from './access/logins.ts';
import { OperatorCertificates } from './access/operator-certificates.ts';
import { PasswordHasher } from './access/password-hash.ts';
import { Users } from './access/users.ts';
import { apiTls } from './api-tls.ts';
import { Audit } from './audit/audit.ts';
import { AuditTrail } from './audit/audit-trail.ts';
import { auditMetrics } from './audit-metrics.ts';
import { Authority } from './authority/authority.ts';
import { Backups } from './backup/backups.ts';
import { recordRestore } from './backup/restore-note.ts';
import { readAuditWebhook, readCaPassphrase, type ServerConfig } from './config.ts';
import { Enrollment } from './enrollment/enrollment.ts';
import { Hosts } from './hosts/hosts.ts';
import { JournalWatch } from './hosts/journal-watch.ts';
import { Presence } from './hosts/presence.ts';
import { HostRegistry } from './hosts/registry.ts';
import { reportReplacements } from './hosts/replacements.ts';
import { AgentListener } from './mesh/agent-listener.ts';
import { Metrics } from './metrics.ts';
import { type ListenAddress, publicHosts, url } from './public-hosts.ts';
import { openSuccession } from './renewal/succession.ts';
import { buildApi } from './routes/api.ts';
import { openStore, type Store } from './store/store.ts';

/** Over how long agents spread their return after a stop, in ms, so that they do not come back all at once. */
const RETURN_SPREAD_MS = 3 * RECONNECT_MIN_MS;
/** Rows of the audit log that come thick and fast are written together this often, in ms. */
const AUDIT_WRITE_MS = 20;

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
  /** Looks now whether the files of --api-tls files have changed. Never rejects. */
  reload(): Promise<void>;
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
  const { store, journal } = await openRecords(options, closers);
  const runtimeFile = join(config.dataDir, 'runtime.json');
  // What a server that was killed left behind would lead its readers astray.
  await rm(runtimeFile, { force: true });
  const names = await publicHosts(config.publicHosts, [config.apiListen, config.agentListen]);
  const authority = await openAuthority(options, store, names);
  closers.push(() => authority.close());

  const { audit, auditTrail } = await openAudit(options, store, authority);
  closers.push(() => auditTrail.close());
  await journal.report(audit);
  const apiTokens = new ApiTokens({ store, audit, clock, log, caFingerprint: authority.caFingerprint });
  if (config.resetAdminToken) await apiTokens.resetAdminToken();
  else await apiTokens.ensureAdminToken();
  const signIns = openSignIns({ store, audit, authority, clock, log }, closers);
  const enrollment = new Enrollment({ store, audit, authority, clock });
  const backups = await openBackups(options, { store, audit, authority }, closers);

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
    store,
    registry,
    clock,
    audit,
    forget: succession.forget,
    disconnect: (target, code, reason) => agents.disconnect(target, code, reason),
  });
  const memory = new MemoryPool(config.streamMemoryBytes);
  const agents: AgentListener = new AgentListener({
    memory,
    clock,
    log,
    random: options.random,
    registry,
    serverVersion: VERSION,
    installationId: authority.installationId,
    caPem: authority.caPem,
    tls: authority.serverTls(),
    isActive: (serial) => authority.active.has(serial),
    ...succession.admission,
    hostName: async (hostId) => (await store.hosts.get(hostId)).name,
    leave: (hostId, reason, address) => hosts.leave(hostId, reason, address),
    balancers: config.balancers,
  });
  closers.push(authority.onServerTls((tls) => agents.setTls(tls)));

  const metrics = new Metrics({ registry, clock, store, memory });
  closers.push(() => metrics.close());
  auditMetrics(metrics.registry, auditTrail);
  const tls = await apiTls(config, authority, { clock, log });
  let urls: AppUrls = { apiUrl: '', agentUrl: '' };
  const api = await buildApi({
    hosts,
    enrollment,
    ...succession.services,
    apiTokens,
    ...signIns,
    publicHosts: names,
    audit,
    auditTrail,
    authority,
    backups,
    metrics,
    ready: () => readiness(store, urls),
    urls: () => urls,
    version: VERSION,
    clock,
    logger: log,
    trustProxy: config.trustProxy,
    balancers: config.balancers,
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
  const { caFingerprint } = authority;
  closers.push(() => rm(runtimeFile, { force: true }));
  await writeRuntime(runtimeFile, { pid: options.pid, ...urls, caFingerprint, version: VERSION });
  log.info({ ...urls, caFingerprint, version: VERSION }, 'the server is ready');
  return { urls, caFingerprint, adminTokenFile: apiTokens.adminTokenFile, reload: () => tls.reload() };
}

/** The ways to use the API without a token. */
function openSignIns(deps: ConstructorParameters<typeof OperatorCertificates>[0], closers: (() => unknown)[]) {
  const hasher = new PasswordHasher();
  const logins = new Logins({ ...deps, hasher });
  closers.push(() => logins.close());
  const users = new Users({ ...deps, hasher, endSessions: (userId) => logins.endOfUser(userId) });
  return { operatorCertificates: new OperatorCertificates(deps), logins, users };
}

/** The store, after it was told of what was revoked while an older database was in place: the list of active serials comes later. */
async function openRecords({ config, clock, log }: AppOptions, closers: (() => Promise<unknown> | unknown)[]) {
  const store = await openStore({ dataDir: config.dataDir, clock });
  closers.push(() => store.close());
  return { store, journal: await JournalWatch.open({ store, clock, log }) };
}

/** Whoever waits for it reads the whole of it or none. */
async function writeRuntime(file: string, runtime: object): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify(runtime, undefined, 2)}\n`, 0o644);
}

async function openAuthority({ config, clock, log }: AppOptions, store: Store, names: string[]): Promise<Authority> {
  return await Authority.open({
    settings: {
      get: (key) => store.settings.get(key),
      // In a transaction, which is on the disk before it returns: a power cut must not take a new CA with it.
      setOnce: (key, value) => store.transaction((tables) => tables.settings.setOnce(key, value)),
    },
    certificates: store.certificates,
    dataDir: config.dataDir,
    passphrase: await readCaPassphrase(config),
    publicHosts: names,
    agentCertLifeMs: config.agentCertLifeMs,
    clock,
    log,
  });
}

/** Writes a restore into the audit log if one came before this start. */
async function openBackups(
  { config, clock, log }: AppOptions,
  { store, audit, authority }: { store: Store; audit: Audit; authority: Authority },
  closers: (() => Promise<unknown> | unknown)[],
): Promise<Backups> {
  await recordRestore(store, audit);
  const { installationId, caFingerprint } = authority;
  const caSeal = () => (config.caPassphraseFile === undefined ? 'master-key' : 'passphrase');
  const backups = new Backups({ store, installationId, caFingerprint, caSeal, clock, log });
  closers.push(() => backups.close());
  return backups;
}

async function openAudit(
  { config, clock, log, random }: AppOptions,
  store: Store,
  authority: Authority,
): Promise<{ audit: Audit; auditTrail: AuditTrail }> {
  const audit = new Audit({ store, clock, log, writeIntervalMs: AUDIT_WRITE_MS });
  const { keepMs, file } = config.audit;
  const policy = { keepMs, file, webhook: await readAuditWebhook(config) };
  const auditTrail = await AuditTrail.open({ store, audit, authority, policy, clock, log, random });
  return { audit, auditTrail };
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
