/** The tables of the store as Kysely sees them. Times are ms since 1970; JSON and other lists are text. */
import type { Generated } from 'kysely';

export interface SettingsTable {
  key: string;
  value: Uint8Array;
}

export interface HostsTable {
  id: string;
  name: string;
  /** The name in lower case: names are unique whatever their case. */
  name_key: string;
  kind: string;
  os: string;
  arch: string;
  hostname: string;
  agent_version: string;
  /** A JSON array of strings. */
  tags: string;
  created_at: number;
  last_seen_at: number | null;
  revoked_at: number | null;
  revoke_reason: string | null;
  quarantined_at: number | null;
  quarantine_reason: string | null;
}

/** The tags of the hosts once more, for lists that are cut down to some: the table of hosts keeps both in step. */
export interface HostTagsTable {
  host_id: string;
  tag: string;
}

/** Rows outlive their host, so that a removed host's certificate is still known as revoked. */
export interface CertificatesTable {
  serial: string;
  host_id: string;
  spki_pin: string;
  not_before: number;
  not_after: number;
  state: string;
  issued_at: number;
  revoked_at: number | null;
  reason: string | null;
  pem: string;
}

export interface EnrollmentTokensTable {
  id: string;
  name: string | null;
  /** SHA-256 of the secret. */
  secret_hash: Uint8Array;
  host_name: string | null;
  tags: string;
  created_by: string;
  created_at: number;
  expires_at: number;
  revoked_at: number | null;
  used_at: number | null;
  /** Set together with `used_at`: what the token was used for. */
  host_id: string | null;
  serial: string | null;
  spki_pin: string | null;
  /** The id of the host that it takes over; null: it makes one. */
  adopts: string | null;
}

export interface ApiTokensTable {
  id: string;
  name: string;
  /** SHA-256 of the secret. */
  secret_hash: Uint8Array;
  role: string;
  created_by: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
  /** JSON of a HostScope; null: all hosts. */
  scope: string | null;
  last_used_address: string | null;
  /** The id of the token that takes over. */
  replaced_by: string | null;
}

export interface AuditTable {
  id: Generated<number>;
  at: number;
  actor: string;
  address: string | null;
  action: string;
  target: string | null;
  result: string;
  /** A JSON object. */
  detail: string;
  /** What binds the row to the one before it. */
  hash: string;
}

/** What the CA has signed of the audit log. */
export interface AuditCheckpointsTable {
  seq: Generated<number>;
  kind: string;
  row_id: number;
  row_hash: string;
  count: number;
  at: number;
  signer: string;
  signature: string;
}

/** The last row of the audit log that each receiver has. */
export interface AuditSinksTable {
  sink: string;
  row_id: number;
  at: number;
}

export interface OperatorCertificatesTable {
  serial: string;
  operator_id: string;
  name: string;
  role: string;
  spki_pin: string;
  issuer_key: string;
  /** JSON arrays of strings: what the certificate is limited to; empty: to nothing. */
  hosts: string;
  tags: string;
  not_before: number;
  not_after: number;
  created_by: string;
  created_at: number;
  last_used_at: number | null;
  revoked_at: number | null;
}

export interface UsersTable {
  id: string;
  name: string;
  /** The name in lower case: names are unique whatever their case. */
  name_key: string;
  role: string;
  /** Algorithm, parameters, salt and hash in one text. */
  password_hash: string;
  /** As of operator certificates. */
  hosts: string;
  tags: string;
  created_by: string;
  created_at: number;
  password_changed_at: number;
  last_login_at: number | null;
}

export interface RecoveriesTable {
  id: string;
  host_id: string;
  spki_pin: string;
  serial: string;
  why: string;
  state: string;
  address: string;
  requested_at: number;
  expires_at: number;
  decided_by: string | null;
  decided_at: number | null;
}

export interface HostTrustTable {
  host_id: string;
  /** Of the trust bundle that the host was told last. */
  version: number;
  /** A JSON array of pins. */
  roots: string;
  at: number;
}

export interface StackRevisionsTable {
  host_id: string;
  stack: string;
  /** Counts up in each stack. */
  number: number;
  id: string;
  action: string;
  source: number | null;
  compose: string;
  /** Sealed. */
  env: string | null;
  /** A JSON array of strings. */
  env_names: string;
  size: number;
  created_by: string;
  created_at: number;
  state: string;
  finished_at: number | null;
  code: string | null;
  detail: string | null;
}

export interface EventsTable {
  id: number;
  at: number;
  time_micros: number;
  /** Null where it is about no host. */
  host_id: string | null;
  host: string | null;
  type: string;
  action: string | null;
  subject: string | null;
  /** A JSON object of strings. */
  attributes: string;
}

export interface EventSourcesTable {
  source: string;
  position: string;
}

export interface WebhooksTable {
  id: string;
  name: string | null;
  /** Sealed. */
  target: string;
  /** A JSON object. */
  filter: string;
  created_by: string;
  created_at: number;
  position: number;
  delivered_at: number | null;
  failing_since: number | null;
  failures: number;
  error: string | null;
}

/** The hosts that rows of `host_metrics` are of. */
export interface MetricHostsTable {
  ref: Generated<number>;
  host_id: string;
  /** Unix seconds. */
  hourly_to: number;
}

export interface HostMetricsTable {
  ref: number;
  /** In seconds; 0: samples as they came. */
  step: number;
  /** Unix seconds. */
  at: number;
  data: Uint8Array;
}

export interface VolumeTransfersTable {
  id: string;
  from_host: string;
  from_volume: string;
  to_host: string;
  to_volume: string;
  replaces: number;
  forced: number;
  state: string;
  bytes: number;
  total: number | null;
  carried: number;
  resumes: number;
  restarts: number;
  note: string | null;
  code: string | null;
  detail: string | null;
  created_by: string;
  created_at: number;
  /** When it last came further. */
  progress_at: number;
  ended_at: number | null;
}

export interface StackMigrationsTable {
  id: string;
  from_host: string;
  from_stack: string;
  to_host: string;
  to_stack: string;
  keeps: number;
  ran: number;
  /** JSON: how many containers each service had that ran. */
  services: string;
  step: string;
  /** JSON: names of volumes that were made at the target. */
  volumes: string;
  created_by: string;
  created_at: number;
}

export interface HawserTokensTable {
  id: string;
  name: string;
  /** The first characters of the token. */
  prefix: string;
  /** Algorithm, parameters, salt and hash in one text. */
  token_hash: string;
  host_id: string | null;
  created_by: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
  last_used_address: string | null;
  revoked_at: number | null;
  replaced_by: string | null;
}

export interface HawserStandardTable {
  host_id: string;
  /** JSON. */
  settings: string;
  /** Sealed. */
  secrets: string;
  changed_by: string;
  changed_at: number;
}

export interface ReleasesTable {
  sequence: number;
  version: string;
  /** Whether its signatures were checked by keys of this server. */
  verified: number;
  created_by: string;
  created_at: number;
}

export interface ReleaseFilesTable {
  sequence: number;
  os: string;
  arch: string;
  /** JSON of a SignedRelease. */
  signed: string;
  /** Of the compressed executable; null, as `stored_at`, until it is there. */
  gz_bytes: number | null;
  stored_at: number | null;
}

export interface HostUpgradesTable {
  host_id: string;
  sequence: number;
  from_version: string;
  to_version: string;
  state: string;
  code: string | null;
  detail: string | null;
  rollout_id: string | null;
  created_by: string;
  created_at: number;
  offered_at: number | null;
  changed_at: number;
  ended_at: number | null;
}

export interface RolloutsTable {
  id: string;
  sequence: number;
  version: string;
  /** JSON: what was asked for. */
  plan: string;
  /** JSON: how far it is. */
  progress: string;
  created_by: string;
  created_at: number;
  ended_at: number | null;
}

export interface RolloutHostsTable {
  rollout_id: string;
  host_id: string;
  /** In the order in which hosts have their turns. */
  place: number;
  stage: number;
  state: string;
  asked_at: number | null;
  ended_at: number | null;
  code: string | null;
  detail: string | null;
}

export interface Schema {
  settings: SettingsTable;
  hosts: HostsTable;
  host_tags: HostTagsTable;
  certificates: CertificatesTable;
  enrollment_tokens: EnrollmentTokensTable;
  api_tokens: ApiTokensTable;
  audit: AuditTable;
  operator_certificates: OperatorCertificatesTable;
  users: UsersTable;
  audit_checkpoints: AuditCheckpointsTable;
  audit_sinks: AuditSinksTable;
  recoveries: RecoveriesTable;
  host_trust: HostTrustTable;
  stack_revisions: StackRevisionsTable;
  events: EventsTable;
  event_sources: EventSourcesTable;
  webhooks: WebhooksTable;
  metric_hosts: MetricHostsTable;
  host_metrics: HostMetricsTable;
  volume_transfers: VolumeTransfersTable;
  hawser_tokens: HawserTokensTable;
  hawser_standard: HawserStandardTable;
  stack_migrations: StackMigrationsTable;
  releases: ReleasesTable;
  release_files: ReleaseFilesTable;
  host_upgrades: HostUpgradesTable;
  rollouts: RolloutsTable;
  rollout_hosts: RolloutHostsTable;
}
