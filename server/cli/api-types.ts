/** The API's answers as the CLI reads them: the route schemas' own types, and Docker's words for what Docker answers. */
import type { Static } from 'typebox';
import type { hostInfo } from '../../shared/messages/host.ts';
import type { Role } from '../../shared/messages/kind.ts';
// biome-ignore lint/style/noRestrictedImports: types only
import type { ScopeView, WebhookView } from '../routes/schemas.ts';

// biome-ignore-start lint/style/noRestrictedImports: types only, so that the API's answers are described once
export type { AdoptionView } from '../routes/adoption.ts';
export type { ReleaseView } from '../routes/agent-releases.ts';
export type { HawserHostView } from '../routes/hawser-hosts.ts';
export type { HawserTokenView } from '../routes/hawser-tokens.ts';
export type { ContainerUseView, StatsAnswer } from '../routes/host-stats.ts';
export type { WishView } from '../routes/host-upgrades.ts';
export type { LinkDirection, LinkView } from '../routes/link-schemas.ts';
export type { HostWithMetrics, MetricsAnswer, MetricsPoint } from '../routes/metric-schemas.ts';
export type { RolloutHostView, RolloutView } from '../routes/rollouts.ts';
export type {
  ApiTokenView,
  AuditRow,
  CertificateView,
  EnrollmentTokenView,
  EventView,
  HostDetail,
  HostUpgradeView,
  HostView,
  OperatorCertificateView,
  RecoveryView,
  ScopeView,
  UserView,
  WebhookView,
} from '../routes/schemas.ts';
// biome-ignore-end lint/style/noRestrictedImports: types only

export type HostInfo = Static<typeof hostInfo.reply>;

/** What many revocations at once came to. */
export interface RevokedHosts {
  hosts: { id: string; name: string }[];
  notFound: { hosts: string[] };
}

/** Whom the API token stands for. */
export interface Whoami {
  tokenId: string;
  name: string;
  role: Role;
}

export interface CreatedEnrollmentToken {
  id: string;
  token: string;
  expiresAt: string;
  caFingerprint: string;
  enrollCommand: string;
  installCommand: string;
}

/** A token by which fairlead-agent takes a host over. */
export interface OfferedAdoption extends CreatedEnrollmentToken {
  hostId: string;
  hostName: string;
}

export interface CreatedApiToken {
  id: string;
  token: string;
  scope: ScopeView;
  expiresAt?: string | null;
}

export interface CreatedWebhook extends WebhookView {
  secret: string;
}

export interface RotatedApiToken extends CreatedApiToken {
  replacedEndsAt: string;
}

export interface CreatedHawserToken {
  id: string;
  token: string;
  host: { name: string | null } | null;
  expiresAt: string | null;
  connectUrl: string;
}

export interface RotatedHawserToken extends CreatedHawserToken {
  replacedEndsAt: string;
}

export interface CreatedOperatorCertificate {
  id: string;
  serial: string;
  /** PEM. */
  certificate: string;
  /** PEM. */
  ca: string;
  notAfter: string;
}

export interface CaView {
  fingerprint: string;
  subject: string;
  notBefore: string;
  notAfter: string;
  roots: { role: string; fingerprint: string; notAfter: string; offline: boolean }[];
  /** What issues for an offline root. */
  intermediate: { notAfter: string } | null;
  warnings: string[];
}

/** How far a rotation of the CA has come. */
export interface CaRotation {
  phase: 'stable' | 'published' | 'activated';
  hosts: number;
  acknowledged: number;
  unacknowledged: { id: string; name: string }[];
  otherCertificates: { id: string; name: string }[];
  otherOperatorCertificates: { count: number; items: { serial: string; name: string; notAfter: string }[] };
}

/** What a number of pings came to; times are null while none was answered. */
export interface RoundTripSummary {
  sent: number;
  received: number;
  minMs: number | null;
  avgMs: number | null;
  p99Ms: number | null;
  maxMs: number | null;
}

/** A record of an answer to ping. */
export type PingRecord =
  | { type: 'ping'; seq: number; roundTripMs: number | null }
  | ({ type: 'summary' } & RoundTripSummary);

/** A record of an answer to throughput. */
export interface ThroughputRecord {
  type: 'throughput';
  direction: 'to-host' | 'from-host';
  bytes: number;
  bytesPerSecond: number | null;
  /** Round trips while the link was full. */
  loaded: RoundTripSummary;
}

/** One line of a log. */
export interface LogRecord {
  stream: 'stdout' | 'stderr';
  time?: string;
  line: string;
  /** The line goes on in the next record of its stream. */
  partial?: boolean;
}

/** An entry of a directory in a volume. */
export interface VolumeFile {
  name: string;
  type: string;
  size: number;
  mode: number;
  uid: number;
  gid: number;
  mtime: string;
  linkTarget?: string;
}

/** A transfer of a volume, as far as it has come. */
export interface VolumeTransfer {
  id: string;
  from: { host: string; volume: string };
  to: { host: string; volume: string };
  state: 'queued' | 'running' | 'waiting' | 'done' | 'failed' | 'cancelled';
  step: 'transfer' | 'apply' | null;
  bytes: number;
  totalBytes: number | null;
  carriedBytes: number;
  bytesPerSecond: number | null;
  resumes: number;
  restarts: number;
  note: string | null;
  error: { code: string; detail: string } | null;
  createdBy: string;
  createdAt: string;
  endedAt: string | null;
}

/** The containers of all hosts; each says whose it is. */
export interface FanOut {
  items: (ContainerSummary & { host: string; hostId: string })[];
  unreachable: Unreachable[];
  /** How many there are beyond the limit. */
  omitted?: number;
}

/** A host that did not answer. */
export interface Unreachable {
  host: string;
  code: string;
  detail: string;
}

/** The records of a bulk action. */
export interface BulkPlan {
  type: 'plan';
  operationId: string;
  dryRun: boolean;
  hosts: number;
  matched: number;
  unreachable: Unreachable[];
}
/** What became of one of those that were meant. */
export interface BulkTarget {
  host: string;
  result: 'ok' | 'failed' | 'skipped' | 'planned';
  code?: string;
  detail?: string;
}
export type BulkContainer = BulkTarget & { type: 'container'; id: string; container: string };
export type BulkStack = BulkTarget & { type: 'stack'; stack: string };
export interface BulkSummary {
  type: 'summary';
  matched: number;
  ok: number;
  failed: number;
  skipped: number;
  unreachable: number;
}
export type BulkRecord = BulkPlan | BulkContainer | BulkStack | BulkSummary;

/** A container in Docker's list; the fields that are shown. */
export interface ContainerSummary {
  Id: string;
  Names?: string[];
  Image?: string;
  Created?: number;
  State?: string;
  Status?: string;
  Ports?: { IP?: string; PrivatePort: number; PublicPort?: number; Type: string }[];
}

/** Docker's answer to top. */
export interface ContainerTop {
  Titles: string[];
  Processes: string[][];
}

/** A sample of Docker's stats; the fields that are shown. */
export interface StatsSample {
  read?: string;
  cpu_stats?: CpuStats;
  precpu_stats?: CpuStats;
  memory_stats?: { usage?: number; limit?: number; stats?: Record<string, number> };
  networks?: Record<string, { rx_bytes: number; tx_bytes: number }>;
  pids_stats?: { current?: number };
}

export interface CpuStats {
  cpu_usage?: { total_usage: number };
  system_cpu_usage?: number;
  online_cpus?: number;
}

/** What was deployed as a stack, once. */
export interface StackRevision {
  revision: number;
  action: string;
  source: number | null;
  state: string;
  env: string[];
  createdBy: string;
  createdAt: string;
  finishedAt: string | null;
  code: string | null;
  detail: string | null;
}

/** How a migration of a stack has ended. */
export interface StackMigration {
  host: string;
  stack: string;
  revision: number;
  volumes: string[];
  images: string[];
  kept: boolean;
}

export interface StackSummary {
  name: string;
  managed: boolean;
  services: string[];
  containers: number;
  running: number;
  revision: StackRevision | null;
  latest: StackRevision | null;
}

/** The stacks of all hosts. */
export interface FleetStacks {
  items: (StackSummary & { host: string; hostId: string })[];
  unreachable: Unreachable[];
}

export interface StackDetail extends Omit<StackSummary, 'services'> {
  services: { service: string; containers: number; running: number }[];
  items: ContainerSummary[];
}

export interface StackLogRecord {
  service: string;
  container: string;
  id: string;
  stream: 'stdout' | 'stderr';
  time?: string;
  line: string;
  partial?: true;
}
