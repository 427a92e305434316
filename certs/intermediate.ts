/** The CA below an offline root: the request that the server makes, what the root makes of it, and how both are checked. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';
import { OID } from './asn1.ts';
import { certificateRequest, readCsr, requestSubject } from './csr.ts';
import { isSignedBy } from './endorsement.ts';
import { type Issuer, issueBy, type Signed } from './issuer.ts';
import { isUuid } from './names.ts';
import { caExtensions, distinguishedName } from './template.ts';
import { pathLength } from './x509-fields.ts';

export const DEFAULT_INTERMEDIATE_DAYS = 730;
export const MAX_INTERMEDIATE_DAYS = 3650;

/** The common name of what issues an installation's certificates. */
export function caName(installationId: string): string {
  return `Fairlead CA ${installationId}`;
}

/** The Name of the CA of an installation, in DER. */
export function caSubject(installationId: string): Buffer {
  return distinguishedName([
    [OID.organizationName, 'Fairlead'],
    [OID.commonName, caName(installationId)],
  ]);
}

/** A request for an intermediate of the installation with this key. */
export async function createCaRequest(privateKey: KeyObject, installationId: string): Promise<string> {
  return await certificateRequest(privateKey, caSubject(installationId));
}

/**
 * Reads a request for an intermediate; it must name an installation as `createCaRequest` does.
 * @throws FairleadError CSR_INVALID with a sentence that says why
 */
export async function readCaRequest(pem: string): Promise<{ spki: Buffer; installationId: string }> {
  const { spki, keyType } = await readCsr(pem);
  const subject = requestSubject(pem);
  const installationId = subject.toString('latin1').slice(-36);
  if (keyType !== 'rsa' || !isUuid(installationId) || !caSubject(installationId).equals(subject)) {
    throw new FairleadError(
      'CSR_INVALID',
      'this is no request of a Fairlead server: make one with "fairlead ca request"',
    );
  }
  return { spki, installationId };
}

/** The intermediate that `root` makes of a request. @throws FairleadError CERT_EXPIRED if the root has expired */
export async function issueIntermediate(
  root: Issuer,
  { spki, installationId, days, clock }: { spki: Buffer; installationId: string; days: number; clock: Clock },
): Promise<Signed> {
  const extensions = caExtensions({ spki, pathLength: 0, issuerKeyIdentifier: root.keyIdentifier });
  return await issueBy(root, { spki, subject: caSubject(installationId), days, clock, extensions });
}

/** Whether `certificate` is by its form and its signature an intermediate below `root`, whatever its age. */
export function isIntermediateOf(root: X509Certificate, certificate: X509Certificate): boolean {
  return (
    certificate.ca &&
    (pathLength(root) ?? 0) >= 1 &&
    pathLength(certificate) === 0 &&
    certificate.keyUsage === undefined &&
    isSignedBy(certificate, root)
  );
}

/**
 * Checks that `intermediate` may issue certificates below `root` at `now` (ms since 1970).
 * @throws FairleadError VALIDATION in one sentence
 */
export function checkIntermediate(root: X509Certificate, intermediate: X509Certificate, now: number): void {
  const length = pathLength(root);
  if (length === undefined || length < 1) throw wrong('root', 'allows no CA below it');
  if (pathLength(intermediate) !== 0 || intermediate.keyUsage !== undefined) {
    throw wrong('intermediate', 'is not a CA that issues leaves alone (pathlen 0)');
  }
  if (!isSignedBy(intermediate, root)) throw wrong('intermediate', 'is not signed by the root beside it');
  for (const [what, certificate] of [['root', root] as const, ['intermediate', intermediate] as const]) {
    const [from, to] = [certificate.validFromDate, certificate.validToDate];
    if (now < from.getTime()) throw wrong(what, `is valid only from ${from.toISOString()}`);
    if (now >= to.getTime()) throw wrong(what, `expired on ${to.toISOString()}`);
  }
  if (intermediate.validToDate > root.validToDate) throw wrong('intermediate', 'outlives its root');
}

function wrong(what: string, why: string): FairleadError {
  return new FairleadError('VALIDATION', `the ${what} ${why}`);
}
