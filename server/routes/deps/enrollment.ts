/**
 * What the routes need of the ways in: enrollment, and recovery of a host whose certificate has expired. views.ts gives the
 * rows the form in which they leave the API.
 */
import type { EnrollmentTokenView, RecoveryView } from '../schemas.ts';
import type { Actor } from './caller.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

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
  readonly adopts?: Maybe<string>;
  readonly usedAt?: Maybe<Time>;
  readonly hostId?: Maybe<string>;
}

export interface EnrollmentService {
  createToken(
    token: { name?: string; ttlSeconds?: number; hostName?: string; tags?: string[] },
    actor: Actor,
  ): Promise<{ id: string; token: string; expiresAt: Time }>;
  list(page: Page): Promise<Paged<EnrollmentTokenRecord>>;
  /** @throws FairleadError NOT_FOUND */
  revoke(id: string, actor: Actor): Promise<unknown>;
  /** @throws RefusedRequest, a FairleadError with the row that the audit log is to get */
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

export interface RecoveryService {
  /** Undefined while nobody has decided. @throws RefusedRequest, a FairleadError with the row that the audit log is to get */
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
