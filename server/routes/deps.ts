/** What the routes need of the rest of the server, as structural types: the services fit them, fakes in tests do too. */
import type { ServerOptions } from 'node:https';
import type { FastifyBaseLogger } from 'fastify';
import type { Clock } from '../../shared/clock.ts';
import type { DockerState, HostPolicy } from '../../shared/messages/control.ts';
import type { Role } from '../../shared/messages/kind.ts';
import type { HostLink, LinkTraffic } from '../hosts/host-link.ts';
import type { AuditRow, CertificateView, EnrollmentTokenView, HostView } from './schemas.ts';

/** A time as services state it: ms since 1970, or RFC 3339. */
export type Time = number | string | Date;

type Maybe<T> = T | null | undefined;

/** The rows that services hand to the routes; views.ts gives them the form in which they leave the API. */
export interface HostRecord {
  readonly id: string;
  readonly name: string;
  readonly kind: HostView['kind'];
  readonly state: HostView['state'];
  readonly hostname?: Maybe<string>;
  readonly os?: Maybe<string>;
  readonly arch?: Maybe<string>;
  readonly agentVersion?: Maybe<string>;
  readonly tags: readonly string[];
  readonly docker?: Maybe<DockerState>;
  readonly capabilities?: Maybe<readonly string[]>;
  readonly policy?: Maybe<HostPolicy>;
  readonly createdAt: Time;
  readonly connectedAt?: Maybe<Time>;
  readonly lastSeenAt?: Maybe<Time>;
  readonly certificate?: Maybe<{ readonly serial: string; readonly notAfter: Time }>;
  readonly revokedAt?: Maybe<Time>;
  readonly revokeReason?: Maybe<string>;
  /** Of one host that was asked for by itself. */
  readonly traffic?: Maybe<LinkTraffic>;
}

export interface CertificateRecord {
  readonly serial: string;
  readonly hostId: string;
  readonly hostName?: Maybe<string>;
  readonly state: CertificateView['state'];
  readonly spkiPin: string;
  readonly notBefore: Time;
  readonly notAfter: Time;
  readonly issuedAt: Time;
  readonly revokedAt?: Maybe<Time>;
  readonly reason?: Maybe<string>;
}

export interface EnrollmentTokenRecord {
  readonly id: string;
  readonly name?: Maybe<string>;
  readonly state: EnrollmentTokenView['state'];
  readonly hostName?: Maybe<string>;
  readonly tags: readonly string[];
  readonly createdBy?: Maybe<string>;
  readonly createdAt: Time;
  readonly expiresAt: Time;
  readonly revokedAt?: Maybe<Time>;
  readonly usedAt?: Maybe<Time>;
  readonly hostId?: Maybe<string>;
}

export interface ApiTokenRecord {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly createdBy?: Maybe<string>;
  readonly createdAt: Time;
  readonly expiresAt?: Maybe<Time>;
  readonly lastUsedAt?: Maybe<Time>;
  readonly revokedAt?: Maybe<Time>;
}

export interface AuditRecord {
  readonly id: number | string;
  readonly at: Time;
  readonly actor: string;
  readonly address?: Maybe<string>;
  readonly action: string;
  readonly target?: Maybe<string>;
  readonly result: AuditRow['result'];
  readonly detail?: Maybe<Readonly<Record<string, unknown>>>;
}

/** Who asks for a change, for the audit log. */
export interface Actor {
  name: string;
  address?: string;
}

/** Whom an API token stands for. */
export interface Principal {
  readonly tokenId: string;
  readonly name: string;
  readonly role: Role;
  /** Streams of the token end at that time. */
  readonly expiresAt?: Maybe<Time>;
}

export interface Page {
  limit: number;
  cursor?: string;
}

export interface Paged<T> {
  readonly items: readonly T[];
  readonly nextCursor?: Maybe<string>;
}

export interface HostsService {
  list(page: Page): Promise<Paged<HostRecord>>;
  /** @throws FairleadError HOST_NOT_FOUND */
  get(ref: string): Promise<HostRecord>;
  /** @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE */
  link(ref: string): Promise<HostLink>;
  update(ref: string, change: { name?: string; tags?: string[] }, actor: Actor): Promise<HostRecord>;
  remove(ref: string, actor: Actor): Promise<void>;
  revoke(ref: string, reason: string, actor: Actor): Promise<unknown>;
  revokeSerial(serial: string, reason: string, actor: Actor): Promise<unknown>;
  certificates(page: Page): Promise<Paged<CertificateRecord>>;
  revocations(page: Page): Promise<Paged<CertificateRecord>>;
}

export interface EnrollmentService {
  createToken(
    token: { name?: string; ttlSeconds?: number; hostName?: string; tags?: string[] },
    actor: Actor,
  ): Promise<{ id: string; token: string; expiresAt: Time }>;
  list(page: Page): Promise<Paged<EnrollmentTokenRecord>>;
  /** @throws FairleadError NOT_FOUND */
  revoke(id: string, actor: Actor): Promise<unknown>;
  /** @throws EnrollmentRefused, a FairleadError with the row that the audit log is to get */
  redeem(request: EnrollRequest, address: string): Promise<EnrollAnswer>;
}

export interface EnrollRequest {
  token: string;
  csr: string;
  hostname: string;
  os: string;
  arch: string;
  agentVersion: string;
  name?: string;
  tags?: string[];
}

export interface EnrollAnswer {
  hostId: string;
  name: string;
  certificate: string;
  ca: string;
  notAfter: Time;
}

export interface ApiTokensService {
  /** @throws FairleadError UNAUTHORIZED */
  authenticate(bearer: string): Promise<Principal>;
  create(
    token: { name: string; role: Role /** ms since 1970 */; expiresAt?: number },
    actor: Actor,
  ): Promise<{ id: string; token: string; expiresAt?: Maybe<Time> }>;
  list(page: Page): Promise<Paged<ApiTokenRecord>>;
  /** @throws FairleadError NOT_FOUND */
  revoke(id: string, actor: Actor): Promise<unknown>;
  /** Calls `listener` with the id of each token that is revoked, in the turn in which it is. @returns a function that stops it. */
  onRevoked(listener: (tokenId: string) => void): () => void;
}

export interface AuditEntry {
  actor: string;
  address?: string;
  action: string;
  target?: string;
  result: 'ok' | 'refused' | 'failed';
  detail?: Record<string, unknown>;
}

export interface AuditService {
  /** @throws FairleadError STORE_FULL, STORE_UNAVAILABLE */
  record(entry: AuditEntry): Promise<unknown>;
  /** As `record`, but writes the row to the log if it must. Never throws. */
  recordOrLog(entry: AuditEntry): Promise<unknown>;
  list(page: Page): Promise<Paged<AuditRecord>>;
}

/** A root that the installation trusts. */
export interface RootRecord {
  readonly role: 'current' | 'next' | 'previous';
  readonly fingerprint: string;
  readonly certPem: string;
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly offline: boolean;
}

export interface AuthorityView {
  readonly installationId: string;
  /** The current root, in PEM. */
  readonly caPem: string;
  readonly caFingerprint: string;
  /** What issues certificates: the current root, or the intermediate below it. */
  readonly ca: {
    readonly isIntermediate: boolean;
    readonly subject: string;
    readonly notBefore: Date;
    readonly notAfter: Date;
  };
  readonly phase: CaPhase;
  trust(): { readonly version: number; readonly roots: readonly RootRecord[]; readonly pem: string };
  /** What ends soon, in sentences. */
  warnings(): string[];
}

export type CaPhase = 'stable' | 'published' | 'activated';

export interface HostNameRecord {
  readonly id: string;
  readonly name: string;
}

export interface RotationService {
  status(): Promise<{
    readonly phase: CaPhase;
    readonly hosts: number;
    readonly acknowledged: number;
    readonly unacknowledged: readonly HostNameRecord[];
    readonly otherCertificates: readonly HostNameRecord[];
  }>;
  /** @throws FairleadError CONFLICT if it is not the time for it, or that names the hosts it would lock out */
  take(
    action: 'publish' | 'activate' | 'retire' | 'abort',
    options: { readonly force: boolean },
    actor: Actor,
  ): Promise<void>;
}

export interface OfflineRootService {
  /** @returns a request for an intermediate, in PEM. @throws FairleadError CONFLICT */
  request(actor: Actor): Promise<string>;
  /** @throws FairleadError VALIDATION, CONFLICT */
  import(bundle: string, actor: Actor): Promise<'published' | 'renewed'>;
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
  /** Over all addresses, for each sort of refusal: rows in the audit log. */
  refusalRowsPerMinute: number;
}

export interface ApiDeps {
  readonly hosts: HostsService;
  readonly enrollment: EnrollmentService;
  readonly apiTokens: ApiTokensService;
  readonly audit: AuditService;
  readonly authority: AuthorityView;
  readonly rotation: RotationService;
  readonly offlineRoot: OfflineRootService;
  readonly metrics: MetricsView;
  /** Asked by `/readyz`; must not throw. */
  ready(): Promise<Readiness>;
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
  readonly limits?: Partial<ApiLimits>;
}
