/** What signing takes of a CA, and how anything it issues comes to be: validity, serial, signature. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';
import { CERT_BACKDATE_MS } from '../shared/limits.ts';
import type { Asn1 } from './asn1.ts';
import { sign } from './native.ts';
import { encodePem } from './pem.ts';
import { newSerial } from './serial.ts';
import { certificate, toBeSigned } from './template.ts';
import { subjectKeyIdentifier, subjectName } from './x509-fields.ts';

const DAY_MS = 24 * 60 * 60_000;

export interface Issuer {
  readonly key: KeyObject;
  /** The CA's Name in DER. */
  readonly name: Buffer;
  readonly keyIdentifier: Buffer;
  readonly notAfter: Date;
}

/** The CA of a certificate and its private key. @throws FairleadError VALIDATION if it lacks a field */
export function issuerOf(x509: X509Certificate, key: KeyObject): Issuer {
  return {
    key,
    name: subjectName(x509),
    keyIdentifier: subjectKeyIdentifier(x509),
    notAfter: x509.validToDate,
  };
}

export interface ToIssue {
  /** SubjectPublicKeyInfo in DER. */
  readonly spki: Buffer;
  /** A Name in DER. */
  readonly subject: Buffer;
  /** At most; never beyond the issuer's own life. */
  readonly days: number;
  readonly clock: Clock;
  readonly extensions: readonly Asn1[];
}

export interface Signed {
  readonly certPem: string;
  /** In the form of `normalizeSerial`. */
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A certificate by `issuer`. @throws FairleadError CERT_EXPIRED if the issuer's own has expired */
export async function issueBy(issuer: Issuer, what: ToIssue): Promise<Signed> {
  const validity = validityFrom(what.clock, what.days, issuer.notAfter);
  return await signCertificate(issuer, what, validity);
}

/** A certificate that its own key signs. */
export async function issueToItself(key: KeyObject, what: ToIssue): Promise<Signed> {
  return await signCertificate({ key, name: what.subject }, what, validityFrom(what.clock, what.days));
}

async function signCertificate(
  issuer: Pick<Issuer, 'key' | 'name'>,
  { spki, subject, extensions }: ToIssue,
  validity: { notBefore: Date; notAfter: Date },
): Promise<Signed> {
  const serial = newSerial();
  const tbs = toBeSigned({ serial, issuer: issuer.name, subject, ...validity, spki, extensions });
  const der = certificate(tbs, await sign('sha256', tbs, issuer.key));
  return { certPem: encodePem('CERTIFICATE', der), serial, ...validity };
}

/** From 5 minutes back, in whole seconds as certificates hold them, and never beyond `limit`. */
function validityFrom(clock: Clock, days: number, limit?: Date): { notBefore: Date; notAfter: Date } {
  const now = Math.floor(clock.now() / 1000) * 1000;
  if (limit !== undefined && limit.getTime() <= now) {
    throw new FairleadError(
      'CERT_EXPIRED',
      `the CA expired on ${limit.toISOString()} and can no longer issue certificates`,
    );
  }
  const end = now + days * DAY_MS;
  return {
    notBefore: new Date(now - CERT_BACKDATE_MS),
    notAfter: new Date(limit === undefined ? end : Math.min(end, limit.getTime())),
  };
}
