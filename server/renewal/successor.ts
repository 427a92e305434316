/**
 * Certificates that take over from another one of their host. Such a certificate is pending until it is first used: the
 * one before stays good until then, so that an answer that is lost costs nothing.
 */
import { X509Certificate } from 'node:crypto';
import type { IssuedCert } from '../../certs/authority.ts';
import type { CertificateRequest } from '../../certs/csr.ts';
import { isSignedBy } from '../../certs/endorsement.ts';
import { certificateBlocks, firstCertificate } from '../../certs/pem.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Audit, AuditEntry } from '../audit/audit.ts';
import type { EnrollmentAuthority } from '../enrollment/enrollment.ts';
import { requireNewKey } from '../enrollment/new-key.ts';
import type { Tables } from '../store/all-tables.ts';
import type { CertificateRow } from '../store/certificates.ts';
import type { Store } from '../store/store.ts';

const NEVER_USED = 'never used: a newer one was issued';

export interface SuccessorDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly authority: EnrollmentAuthority;
  readonly clock: Clock;
  /** The serials that are pending, in memory since each new connection asks; as many as there are hosts at most. */
  readonly pending: Set<string>;
}

export interface Succession {
  readonly hostId: string;
  readonly csr: CertificateRequest;
  /** Inside the transaction: throws if the host must not have a certificate after all. @returns the row for the audit log */
  check(tables: Tables): Promise<AuditEntry>;
}

/** What a host gets. */
export interface Successor {
  readonly serial: string;
  /** PEM. */
  readonly certificate: string;
  /** ms since 1970. */
  readonly notAfter: number;
}

/**
 * Issues a pending certificate and revokes an older pending one of the host. The same key gets the same certificate again.
 * @throws FairleadError CSR_INVALID if the key is another's, the server's or was used before, and what `check` throws
 */
export async function issueSuccessor(deps: SuccessorDeps, succession: Succession): Promise<Successor> {
  const { store, authority, clock, pending } = deps;
  const { hostId, csr } = succession;
  const known = repeated(deps, await store.certificates.findByKey(csr.spkiPin), hostId, clock.now());
  if (known !== undefined) return known;
  await requireNewKey(authority, csr.spkiPin, store);
  const { installationId } = authority;
  const issued = await authority.ca.issueAgent({ spki: csr.spki, hostId, installationId, clock });
  try {
    const { successor, unused } = await store.transaction((tables) => insert(deps, succession, issued, tables));
    forget(deps, unused);
    return successor;
  } catch (error) {
    pending.delete(issued.serial);
    authority.active.remove(issued.serial);
    throw error;
  }
}

async function insert(deps: SuccessorDeps, { hostId, csr, check }: Succession, issued: IssuedCert, tables: Tables) {
  const now = deps.clock.now();
  const entry = await check(tables);
  // Asked twice at once: the second one gets what the first one got.
  const known = repeated(deps, await tables.certificates.findByKey(csr.spkiPin), hostId, now);
  if (known !== undefined) return { successor: known, unused: [] };
  await requireNewKey(deps.authority, csr.spkiPin, tables);
  const unused = await tables.certificates.revokePending(hostId, now, NEVER_USED);
  const { serial, certPem, spkiPin } = issued;
  const notAfter = issued.notAfter.getTime();
  const validity = { notBefore: issued.notBefore.getTime(), notAfter, issuedAt: now };
  await tables.certificates.insert({ serial, hostId, spkiPin, pem: certPem, ...validity }, 'pending');
  await deps.audit.record({ ...entry, detail: { ...entry.detail, serial, unused } }, tables);
  // On the list before the commit, so that a revocation, which can only come after it, takes it off again.
  deps.pending.add(serial);
  deps.authority.active.add(serial, hostId);
  return { successor: { serial, certificate: certPem, notAfter }, unused };
}

/** The answer once more, for the key that got it; not one of a root that was given up since: that opens nothing any more. */
function repeated(
  { authority }: SuccessorDeps,
  row: CertificateRow | undefined,
  hostId: string,
  now: number,
): Successor | undefined {
  const isGood = row !== undefined && (row.state === 'pending' || row.state === 'active');
  if (!isGood || row.hostId !== hostId || row.notAfter <= now) return undefined;
  if (!isIssuedBy(new X509Certificate(firstCertificate(row.pem)), authority.trust().clientCaPem)) return undefined;
  return { serial: row.serial, certificate: row.pem, notAfter: row.notAfter };
}

function forget({ pending, authority }: SuccessorDeps, serials: readonly string[]): void {
  for (const serial of serials) {
    pending.delete(serial);
    authority.active.remove(serial);
  }
}

/** @throws FairleadError CERT_REVOKED, QUARANTINED unless the host may have a certificate. @returns its name */
export async function requireGoodHost(tables: Tables, hostId: string): Promise<string> {
  const host = await tables.hosts.find(hostId);
  if (host === undefined) throw new FairleadError('CERT_REVOKED', 'this host was removed');
  if (host.revokedAt !== undefined) {
    throw new FairleadError('CERT_REVOKED', `this host is revoked: ${host.revokeReason ?? 'no reason given'}`);
  }
  if (host.quarantinedAt !== undefined) throw quarantined(host.name, host.quarantineReason);
  return host.name;
}

/** What a host in quarantine is told. */
export function quarantined(name: string, reason: string | undefined): FairleadError {
  const what = `the host ${name} is in quarantine: ${reason ?? 'no reason given'}`;
  return new FairleadError('QUARANTINED', `${what}; an administrator must release or revoke it`);
}

/** Whether one of these CAs has issued it; whether it is still valid is another question. */
export function isIssuedBy(certificate: X509Certificate, casPem: string): boolean {
  return certificateBlocks(casPem).some((pem) => isSignedBy(certificate, new X509Certificate(pem)));
}
