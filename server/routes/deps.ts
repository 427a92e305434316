/** What the routes need of the rest of the server, as structural types: the services fit them, fakes in tests do too. */
import type { IncomingMessage } from 'node:http';
import type { ServerOptions } from 'node:https';
import type { FastifyBaseLogger } from 'fastify';
import type { ChainFault, ChainSummary } from '../../shared/audit-chain.ts';
import type { Clock } from '../../shared/clock.ts';
import type { DockerState, HostPolicy } from '../../shared/messages/control.ts';
import type { Role } from '../../shared/messages/kind.ts';
import type { HostScope } from '../access/scope.ts';
import type { Balancers } from '../doors/balancers.ts';
import type { RequestTimes } from '../doors/limits.ts';
import type { PlaceLimits } from '../doors/places.ts';
import type { HostLink, LinkTraffic } from '../hosts/host-link.ts';
import type { AuditRow, CertificateView, EnrollmentTokenView, HostView, RecoveryView } from './schemas.ts';

export type { HostScope } from '../access/scope.ts';

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
  readonly quarantine?: Maybe<{ readonly at: Time; readonly reason: string }>;
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

export interface RecoveryRecord {
  readonly id: string;
  readonly hostId: string;
  readonly hostName?: Maybe<string>;
  readonly state: RecoveryView['state'];
  readonly serial: string;
  readonly why: string;
  readonly spkiPin: string;
  readonly address: string;
  readonly requestedAt: Time;
  readonly expiresAt: Time;
  readonly decidedBy?: Maybe<string>;
  readonly decidedAt?: Maybe<Time>;
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
  readonly scope?: Maybe<HostScope>;
  readonly createdBy?: Maybe<string>;
  readonly createdAt: Time;
  readonly expiresAt?: Maybe<Time>;
  readonly lastUsedAt?: Maybe<Time>;
  readonly lastUsedAddress?: Maybe<string>;
  readonly revokedAt?: Maybe<Time>;
  readonly replacedBy?: Maybe<string>;
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
  readonly hash?: Maybe<string>;
}

/** Which rows of the audit log are asked for. */
export interface AuditQuery {
  readonly actor?: string;
  readonly address?: string;
  /** What the action begins with. */
  readonly action?: string;
  /** Any of these, or what is inside of one. */
  readonly targets?: readonly string[];
  readonly result?: AuditRow['result'];
  /** ms since 1970. */
  readonly since?: number;
  readonly until?: number;
}

/** Who asks for a change, for the audit log. */
export interface Actor {
  name: string;
  address?: string;
}

/** Who asks: whom an API token, an operator's certificate or a session stands for. */
export interface Principal {
  /** The token's id, `cert:SERIAL` or `login:ID`. */
  readonly tokenId: string;
  readonly name: string;
  readonly role: Role;
  /** Which hosts it may see and act on; undefined: all. */
  readonly scope?: HostScope | undefined;
  /** In a request about one host, by whoever has a scope: that host's id. Its streams end when the host leaves the scope. */
  readonly hostId?: string;
  /** Streams of the token end at that time. */
  readonly expiresAt?: Maybe<Time>;
}

export interface OperatorCertificateRecord {
  readonly serial: string;
  readonly operatorId: string;
  readonly name: string;
  readonly role: Role;
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
  readonly notAfter: Time;
  readonly createdBy: string;
  readonly createdAt: Time;
  readonly lastUsedAt?: Maybe<Time>;
  readonly revokedAt?: Maybe<Time>;
}

export interface UserRecord {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
  readonly createdBy: string;
  readonly createdAt: Time;
  readonly passwordChangedAt: Time;
  readonly lastLoginAt?: Maybe<Time>;
}

export interface SessionRecord {
  readonly user: string;
  readonly role: Role;
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
  readonly csrfToken: string;
  readonly expiresAt: Time;
}

export interface Page {
  limit: number;
  cursor?: string;
}

export interface Paged<T> {
  readonly items: readonly T[];
  readonly nextCursor?: Maybe<string>;
}

export interface BulkRevocationResult {
  hosts: { id: string; name: string; serials: string[] }[];
  certificates: { serial: string; hostId: string }[];
  notFound: { hosts: string[]; serials: string[] };
}

export interface HostsService {
  /** Those in `scope`; of all if it is undefined, here and below. */
  list(page: Page, scope: HostScope | undefined): Promise<Paged<HostRecord>>;
  /** The id of a host in `scope`. @throws FairleadError HOST_NOT_FOUND, the same for a host outside of it as for none */
  idInScope(ref: string, scope: HostScope): Promise<string>;
  /** The names of those hosts that are there, by id. */
  names(ids: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /**
   * Calls `listener` in the turn in which a host's tags change, with the new ones, or in which it is removed, with
   * undefined. @returns a function that stops it.
   */
  onScopeChange(listener: (hostId: string, tags: readonly string[] | undefined) => void): () => void;
  /** @throws FairleadError HOST_NOT_FOUND */
  get(ref: string): Promise<HostRecord>;
  /** @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE */
  link(ref: string): Promise<HostLink>;
  update(ref: string, change: { name?: string; tags?: string[] }, actor: Actor): Promise<HostRecord>;
  remove(ref: string, actor: Actor): Promise<void>;
  revoke(ref: string, reason: string, actor: Actor): Promise<unknown>;
  revokeSerial(serial: string, reason: string, actor: Actor): Promise<unknown>;
  certificates(page: Page, scope: HostScope | undefined): Promise<Paged<CertificateRecord>>;
  revocations(page: Page, scope: HostScope | undefined): Promise<Paged<CertificateRecord>>;
  /** What there is none of is in the answer. */
  revokeMany(
    request: { hosts: string[]; serials: string[]; tag?: string | undefined; reason: string },
    actor: Actor,
  ): Promise<BulkRevocationResult>;
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

export interface QuarantineService {
  /** @throws FairleadError HOST_NOT_FOUND, CONFLICT */
  release(ref: string, actor: Actor): Promise<unknown>;
}

export interface RecoveryService {
  /** Undefined while nobody has decided. @throws RecoveryRefused, a FairleadError with the row that the audit log is to get */
  request(
    request: { certificate: string; csr: string; proof: string },
    address: string,
  ): Promise<{ certificate: string; notAfter: Time } | undefined>;
  list(page: Page): Promise<Paged<RecoveryRecord>>;
  /** @throws FairleadError NOT_FOUND, CONFLICT */
  approve(id: string, actor: Actor): Promise<unknown>;
  /** @throws FairleadError NOT_FOUND, CONFLICT */
  deny(id: string, actor: Actor): Promise<unknown>;
}

/** A token that was just made. */
export interface MadeToken {
  readonly id: string;
  readonly token: string;
  readonly name: string;
  readonly role: Role;
  readonly scope?: Maybe<HostScope>;
  readonly expiresAt?: Maybe<Time>;
}

export interface ApiTokensService extends Revocable {
  /** @throws FairleadError UNAUTHORIZED */
  authenticate(bearer: string, address?: string): Promise<Principal>;
  create(
    token: { name: string; role: Role /** ms since 1970 */; expiresAt?: number; hosts?: string[]; tags?: string[] },
    actor: Actor,
  ): Promise<MadeToken>;
  /** @throws FairleadError NOT_FOUND, CONFLICT */
  rotate(id: string, overlapSeconds: number, actor: Actor): Promise<MadeToken & { readonly replacedEndsAt: Time }>;
  list(page: Page): Promise<Paged<ApiTokenRecord>>;
  /** @throws FairleadError NOT_FOUND */
  revoke(id: string, actor: Actor): Promise<unknown>;
}

/** What ends by itself or by an administrator while it holds streams open. */
export interface Revocable {
  /**
   * Calls `listener` with a principal's token id in the turn in which it is revoked, or in which it is settled that it ends
   * at `endsAt` (ms since 1970), sooner than it was to. @returns a function that stops it.
   */
  onRevoked(listener: (tokenId: string, endsAt?: number) => void): () => void;
}

interface Limits {
  name: string;
  role: Role;
  hosts?: string[];
  tags?: string[];
}

export interface OperatorCertificatesService extends Revocable {
  /** Undefined if the connection came with no client certificate. @throws FairleadError UNAUTHORIZED, what it returns does */
  authenticate(socket: IncomingMessage['socket']): Promise<Principal> | undefined;
  /** @throws FairleadError VALIDATION, CSR_INVALID, CERT_EXPIRED */
  create(
    certificate: Limits & { csr: string; ttlSeconds?: number },
    actor: Actor,
  ): Promise<{ serial: string; operatorId: string; certificate: string; ca: string; notAfter: Time }>;
  list(page: Page): Promise<Paged<OperatorCertificateRecord>>;
  /** @throws FairleadError NOT_FOUND */
  revoke(serial: string, actor: Actor): Promise<unknown>;
}

export interface UsersService {
  /** @throws FairleadError VALIDATION, CONFLICT, OVERLOADED */
  create(user: Limits & { password: string }, actor: Actor): Promise<UserRecord>;
  list(page: Page): Promise<Paged<UserRecord>>;
  /** @throws FairleadError NOT_FOUND, VALIDATION, OVERLOADED */
  setPassword(name: string, password: string, actor: Actor): Promise<unknown>;
  /** @throws FairleadError NOT_FOUND */
  remove(name: string, actor: Actor): Promise<unknown>;
}

export interface LoginsService extends Revocable {
  /** @throws LoginRefused, a FairleadError with the row that the audit log is to get; RATE_LIMITED, OVERLOADED, NOT_FOUND */
  login(request: {
    user: string;
    password: string;
    address: string;
  }): Promise<{ secret: string; session: SessionRecord }>;
  /** @throws FairleadError UNAUTHORIZED */
  authenticate(secret: string): Promise<Principal>;
  fitsCsrfToken(secret: string, token: string): boolean;
  /** @throws FairleadError UNAUTHORIZED */
  session(secret: string): SessionRecord;
  /** @throws FairleadError UNAUTHORIZED */
  logout(secret: string, address: string | undefined): Promise<unknown>;
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
  list(page: Page, filter?: AuditQuery): Promise<Paged<AuditRecord>>;
}

/** The whole of the audit log: checked, and to take away. */
export interface AuditTrailService {
  /** What is wrong with it at the first place where something is, or what it comes to. @throws FairleadError CONFLICT */
  verify(): Promise<ChainFault | ChainSummary>;
  /** NDJSON, in pieces. */
  export(): AsyncIterable<string>;
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
    readonly otherOperatorCertificates: readonly {
      readonly serial: string;
      readonly name: string;
      readonly notAfter: number;
    }[];
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
  /** Those whose connections must begin with a PROXY header. */
  readonly balancers?: Balancers | undefined;
  readonly requestTimes?: Partial<RequestTimes>;
  readonly connectionPlaces?: PlaceLimits;
}
