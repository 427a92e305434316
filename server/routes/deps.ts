/** What the routes need of the rest of the server, as structural types: the services fit them, fakes in tests do too. */

import type { ServerOptions } from 'node:https';
import type { FastifyBaseLogger } from 'fastify';
import type { Clock } from '../../shared/clock.ts';
import type { Balancers } from '../doors/balancers.ts';
import type { RequestTimes } from '../doors/limits.ts';
import type { PlaceLimits } from '../doors/places.ts';
import type { Drain } from '../drain.ts';
import type { ApiTokensService, LoginsService, OperatorCertificatesService, UsersService } from './deps/access.ts';
import type { AgentFilesService } from './deps/agent-files.ts';
import type { AuditService, AuditTrailService } from './deps/audit.ts';
import type { AuthorityView, OfflineRootService, RotationService } from './deps/authority.ts';
import type { DiagnosticsService } from './deps/diagnostics.ts';
import type { EnrollmentService, RecoveryService } from './deps/enrollment.ts';
import type { EventsService } from './deps/events.ts';
import type { HawserService } from './deps/hawser.ts';
import type { HostMetricsService } from './deps/host-metrics.ts';
import type { HostsService, QuarantineService } from './deps/hosts.ts';
import type { InstallScriptService } from './deps/install-script.ts';
import type { HostUpgradesService, ReleasesService } from './deps/releases.ts';
import type { RolloutsService } from './deps/rollouts.ts';
import type { StackMigrationsService, StacksService } from './deps/stacks.ts';
import type { VolumeTransfersService } from './deps/volumes.ts';
import type { WebhooksService } from './deps/webhooks.ts';

export interface BackupsService {
  /** @throws FairleadError CONFLICT, VALIDATION, STORE_FULL, STORE_UNAVAILABLE, or the reason of `signal` */
  create(
    key: { recipe: { log2N: number; r: number; p: number; salt: Buffer }; key: Buffer },
    by: string,
    signal: AbortSignal,
  ): Promise<{
    readonly manifest: { readonly createdAt: string; readonly installationId: string };
    readonly bytes: number;
    readonly chunks: AsyncIterable<Uint8Array>;
    release(): void;
  }>;
}

/** What the routes do with metrics. */
export interface MetricsView {
  readonly contentType: string;
  /** The text of `/metrics`. */
  text(): Promise<string>;
  /** Counts an answered request; `route` is the route's pattern, never a path. */
  httpRequest(method: string, route: string, status: number): void;
}

/** Whether each part that requests need works; `detail` says why not. */
export interface Readiness {
  ready: boolean;
  checks: Record<string, { ok: boolean; detail?: string }>;
}

/** Requests per minute; each counts per address unless its name says otherwise. */
export interface ApiLimits {
  enrollsPerMinute: number;
  enrollsPerMinuteInTotal: number;
  refusedEnrollsPerMinute: number;
  refusedLoginsPerMinute: number;
  refusedLoginsPerMinuteInTotal: number;
  /** Of each token, from wherever it is used. */
  requestsPerMinuteOfToken: number;
  /** Over all addresses, for each sort of refusal: rows in the audit log. */
  refusalRowsPerMinute: number;
}

export interface ApiDeps {
  readonly hosts: HostsService;
  readonly enrollment: EnrollmentService;
  readonly quarantine: QuarantineService;
  readonly volumeTransfers: VolumeTransfersService;
  readonly recovery: RecoveryService;
  readonly apiTokens: ApiTokensService;
  readonly operatorCertificates: OperatorCertificatesService;
  readonly users: UsersService;
  readonly logins: LoginsService;
  /** Names and addresses under which pages of this server are reached. */
  readonly publicHosts: readonly string[];
  readonly audit: AuditService;
  readonly auditTrail: AuditTrailService;
  readonly authority: AuthorityView;
  readonly backups: BackupsService;
  readonly agentFiles: AgentFilesService;
  readonly installScript: InstallScriptService;
  readonly releases: ReleasesService;
  readonly upgrades: HostUpgradesService;
  readonly rollouts: RolloutsService;
  readonly events: EventsService;
  readonly stacks: StacksService;
  readonly stackMigrations: StackMigrationsService;
  readonly webhooks: WebhooksService;
  readonly rotation: RotationService;
  readonly offlineRoot: OfflineRootService;
  readonly hawser: HawserService;
  readonly metrics: MetricsView;
  readonly diagnostics: DiagnosticsService;
  readonly hostMetrics: HostMetricsService;
  /** Asked by `/readyz`; must not throw. */
  ready(): Promise<Readiness>;
  readonly drain: Drain;
  /** Base URLs as they are handed out. */
  urls(): { apiUrl: string; agentUrl: string };
  readonly version: string;
  readonly clock: Clock;
  readonly logger: FastifyBaseLogger;
  /**
   * Options of the TLS server (`key`, `cert`, …); absent: plain HTTP, for a TLS proxy in front. A renewed leaf is put in
   * place by `(app.server as unknown as tls.Server).setSecureContext(…)`.
   */
  readonly https?: ServerOptions;
  /** Takes addresses from what the one proxy in front has put into `X-Forwarded-For`. */
  readonly trustProxy?: boolean;
  /** … if that is one of these; absent: whoever connects. */
  readonly trustedProxies?: Balancers | undefined;
  readonly limits?: Partial<ApiLimits>;
  /** Those whose connections must begin with a PROXY header. */
  readonly balancers?: Balancers | undefined;
  readonly requestTimes?: Partial<RequestTimes>;
  readonly connectionPlaces?: PlaceLimits;
}
