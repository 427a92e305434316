/** What the routes need of hosts and their certificates. views.ts gives the rows the form in which they leave the API. */
import type { DockerState, HostPolicy } from '../../../shared/messages/control.ts';
import type { UpgradeAbility } from '../../../shared/messages/release.ts';
import type { HostScope } from '../../access/scope.ts';
import type { HostFilter } from '../../hosts/host-filter.ts';
import type { HostLink, LinkTraffic } from '../../hosts/host-link.ts';
import type { HostChange } from '../../hosts/hosts.ts';
import type { HostUpgrade } from '../../upgrades/host-upgrades.ts';
import type { CertificateView, HostView } from '../schemas.ts';
import type { Actor } from './caller.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

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
  /** Whether its agent can replace itself, as that says. */
  readonly upgradeAbility?: Maybe<UpgradeAbility>;
  readonly lastUpgrade?: Maybe<HostUpgrade>;
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

export interface BulkRevocationResult {
  hosts: { id: string; name: string; serials: string[] }[];
  certificates: { serial: string; hostId: string }[];
  notFound: { hosts: string[]; serials: string[] };
}

export interface HostsService {
  /** Those in `scope`, of all if it is undefined, here and below; and of them those that fit `filter`. */
  list(page: Page, scope: HostScope | undefined, filter?: HostFilter): Promise<Paged<HostRecord>>;
  /** The id of a host in `scope`. @throws FairleadError HOST_NOT_FOUND, the same for a host outside of it as for none */
  idInScope(ref: string, scope: HostScope): Promise<string>;
  /** The names of those hosts that are there, by id. */
  names(ids: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /**
   * Calls `listener` in the turn in which a host's tags or its name change, with the tags, or in which it is removed, with
   * undefined. @returns a function that stops it.
   */
  onScopeChange(listener: (hostId: string, tags: readonly string[] | undefined) => void): () => void;
  /** @throws FairleadError HOST_NOT_FOUND */
  get(ref: string): Promise<HostRecord>;
  /** @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE */
  link(ref: string): Promise<HostLink>;
  /**
   * As `link`, but waits for a host that is away.
   * @throws FairleadError HOST_NOT_FOUND, HOST_OFFLINE at once when it is revoked; the signal's reason
   */
  linkOnReturn(ref: string, signal: AbortSignal): Promise<HostLink>;
  update(ref: string, change: HostChange, actor: Actor): Promise<HostRecord>;
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

export interface QuarantineService {
  /** @throws FairleadError HOST_NOT_FOUND, CONFLICT */
  release(ref: string, actor: Actor): Promise<unknown>;
}
