/** The API: who may use it, its TLS, and all that its routes ask. */
import type { Server } from 'node:tls';
import { toWireError } from '../shared/errors.ts';
import { VERSION } from '../shared/version.ts';
import { ApiTokens } from './access/api-tokens.ts';
import { Logins } from './access/logins.ts';
import { OperatorCertificates } from './access/operator-certificates.ts';
import type { PasswordHasher } from './access/password-hash.ts';
import { Users } from './access/users.ts';
import { AgentFiles, agentFolders } from './agent-files.ts';
import { type ApiTls, apiTls } from './api-tls.ts';
import { auditMetrics } from './audit-metrics.ts';
import { OfflineRoot } from './authority/offline-root.ts';
import { diagnose } from './diagnostics/diagnostics.ts';
import type { Drain } from './drain.ts';
import type { Fleet } from './fleet.ts';
import { InstallScript } from './install-script.ts';
import { Metrics } from './metrics.ts';
import type { PartOptions } from './parts.ts';
import type { Records } from './records.ts';
import { buildApi } from './routes/api.ts';
import type { Api } from './routes/app-types.ts';
import type { DiagnosticsService } from './routes/deps/diagnostics.ts';
import { sampleMetrics } from './sample-metrics.ts';
import { Revisions } from './stacks/revisions.ts';
import { StackMigrations } from './stacks/stack-migrations.ts';
import { Stacks } from './stacks/stacks.ts';
import type { Store } from './store/store.ts';

export interface AppUrls {
  readonly apiUrl: string;
  readonly agentUrl: string;
}

export interface Front {
  readonly apiTokens: ApiTokens;
  readonly tls: ApiTls;
  /** Does not listen yet. */
  readonly api: Api;
}

export interface FrontOptions extends PartOptions {
  /** Names and addresses under which the server is reached. */
  readonly names: readonly string[];
  /** Empty texts until everything listens. */
  readonly urls: () => AppUrls;
  readonly drain: Drain;
}

/** @throws FairleadError VALIDATION if a configured certificate or key cannot be used */
export async function openFront(options: FrontOptions, records: Records, fleet: Fleet): Promise<Front> {
  const { config, clock, log, closers, names, urls } = options;
  const { store, audit, auditTrail, authority, backups } = records;
  const apiTokens = await openApiTokens(options, records);
  const current = fleet.hostMetrics.current.bind(fleet.hostMetrics);
  const metrics = new Metrics({ registry: fleet.registry, clock, store, memory: fleet.memory, current });
  sampleMetrics(metrics.registry, fleet.hostMetrics);
  closers.push(() => metrics.close());
  auditMetrics(metrics.registry, auditTrail);
  const tls = await apiTls(config, authority, { clock, log });
  const { hosts, enrollment, rotation, events, hostMetrics, volumeTransfers, hawser, releases, upgrades, rollouts } =
    fleet;
  const stacks = await openStacks(options, records);
  const { registry } = fleet;
  const stackMigrations = await StackMigrations.open({
    ...{ store, stacks, transfers: volumeTransfers, registry, audit, clock, log },
  });
  closers.push(() => stackMigrations.close());
  const agentFiles = new AgentFiles(agentFolders(config), (platform) => fleet.releases.newestFolder(platform));
  const api = await buildApi({
    ...{ hosts, enrollment, rotation, events, hostMetrics, volumeTransfers, hawser, releases, upgrades, rollouts },
    ...{ apiTokens, audit, auditTrail, authority, backups, metrics, stacks, stackMigrations, agentFiles, urls, clock },
    webhooks: events.webhooks,
    ...fleet.succession.services,
    ...openSignIns(options, records, fleet.hasher),
    offlineRoot: new OfflineRoot({ authority, rotation, clock }),
    installScript: new InstallScript({
      ...{ agentFiles, urls },
      apiCa: () => (config.apiTls.mode === 'internal' ? authority.trust().pem : undefined),
    }),
    publicHosts: names,
    drain: options.drain,
    diagnostics: openDiagnostics(options, records, fleet, agentFiles),
    ready: () => readiness(store, urls()),
    version: VERSION,
    logger: log,
    trustProxy: config.trustProxy,
    trustedProxies: config.trustedProxies,
    balancers: config.balancers,
    ...(tls.options === undefined ? {} : { https: tls.options }),
  });
  closers.push(tls.follow(api.server as unknown as Server));
  return { apiTokens, tls, api };
}

function openDiagnostics(
  { config, clock, urls }: FrontOptions,
  { store, authority, auditTrail }: Records,
  { registry, hosts, events, memory, succession, releases }: Fleet,
  agentFiles: AgentFiles,
): DiagnosticsService {
  const { recovery } = succession.services;
  const parts = { ...{ config, clock, urls, store, authority, auditTrail, registry, hosts, memory, recovery } };
  const startedAt = clock.now();
  const agents = { agentFiles, releases };
  return { diagnose: () => diagnose({ ...parts, ...agents, webhooks: events.webhooks, startedAt }) };
}

async function openApiTokens({ config, clock, log }: PartOptions, records: Records): Promise<ApiTokens> {
  const { store, audit, authority } = records;
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

/** Stacks, whose deployments of a server before this one are over. */
async function openStacks({ clock, log }: PartOptions, { store, authority: { secrets } }: Records): Promise<Stacks> {
  const revisions = new Revisions({ store, secrets, clock });
  await revisions.interruptAll();
  return new Stacks({ revisions, clock, log });
}

/** The ways to use the API without a token. */
function openSignIns(
  { clock, log, closers }: PartOptions,
  { store, audit, authority }: Records,
  hasher: PasswordHasher,
) {
  const deps = { store, audit, authority, clock, log };
  const logins = new Logins({ ...deps, hasher });
  closers.push(() => logins.close());
  const users = new Users({ ...deps, hasher, endSessions: (userId) => logins.endOfUser(userId) });
  return { operatorCertificates: new OperatorCertificates(deps), logins, users };
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
