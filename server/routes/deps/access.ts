/** What the routes need of those who use the API: tokens, operators' certificates, users and their logins. */
import type { IncomingMessage } from 'node:http';
import type { Role } from '../../../shared/messages/kind.ts';
import type { HostScope } from '../../access/scope.ts';
import type { Actor, Principal, Revocable } from './caller.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

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
  /** @throws RefusedRequest, a FairleadError with the row that the audit log is to get; RATE_LIMITED, OVERLOADED, NOT_FOUND */
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
