/**
 * How trust gets from one root to the next: the old root signs a certificate over name and key of the new one. It is read
 * by our own code alone and has a purpose of its own, so that TLS never builds a chain through it and that neither an
 * intermediate nor any other certificate of the old root passes for one.
 */
import type { X509Certificate } from 'node:crypto';
import type { Clock } from '../shared/clock.ts';
import { OID } from './asn1.ts';
import { type Issuer, issueBy } from './issuer.ts';
import { spkiOf } from './pin.ts';
import { endorsementExtensions } from './template.ts';
import { subjectName } from './x509-fields.ts';

/** How long the way from the old root to the new one stands: a rotation is over by then. */
export const ENDORSEMENT_DAYS = 365;
/** The way back from a new root to the old one. Short: the old one may be on its way out because it is not safe. */
export const RETURN_DAYS = 30;

/** What the signatures of all our CAs are; whatever else stands in a bundle counts for nothing. */
const SIGNATURE = 'sha256WithRSAEncryption';

/** The endorsement of `root` by `issuer`, in PEM. @throws FairleadError CERT_EXPIRED */
export async function endorseRoot(
  issuer: Issuer,
  { root, days, clock }: { root: X509Certificate; days: number; clock: Clock },
): Promise<string> {
  const spki = spkiOf(root.publicKey);
  const extensions = endorsementExtensions({ spki, issuerKeyIdentifier: issuer.keyIdentifier });
  return (await issueBy(issuer, { spki, subject: subjectName(root), days, clock, extensions })).certPem;
}

/** Whether `certificate` is by its form an endorsement. Says nothing about who signed it. */
export function isEndorsement(certificate: X509Certificate): boolean {
  const purposes = certificate.keyUsage ?? [];
  return certificate.ca && purposes.length === 1 && purposes[0] === OID.endorsement;
}

/** Whether by `endorsement` the root `by` says, at `now` (ms since 1970), that it trusts the key of `root`. */
export function endorses(
  endorsement: X509Certificate,
  { by, root, now }: { by: X509Certificate; root: X509Certificate; now: number },
): boolean {
  return (
    isEndorsement(endorsement) &&
    endorsement.validFromDate.getTime() <= now &&
    now < endorsement.validToDate.getTime() &&
    endorsement.subject === root.subject &&
    spkiOf(endorsement.publicKey).equals(spkiOf(root.publicKey)) &&
    isSignedBy(endorsement, by)
  );
}

/** Whether `certificate` is one of `issuer`, by its names, its key identifiers and its signature. */
export function isSignedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return (
    certificate.signatureAlgorithm === SIGNATURE &&
    certificate.checkIssued(issuer) &&
    certificate.verify(issuer.publicKey)
  );
}
