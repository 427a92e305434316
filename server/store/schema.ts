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
}

export interface HostTrustTable {
  host_id: string;
  /** Of the trust bundle that the host was told last. */
  version: number;
  /** A JSON array of pins. */
  roots: string;
  at: number;
}

export interface Schema {
  settings: SettingsTable;
  hosts: HostsTable;
  certificates: CertificatesTable;
  enrollment_tokens: EnrollmentTokensTable;
  api_tokens: ApiTokensTable;
  audit: AuditTable;
  host_trust: HostTrustTable;
}
