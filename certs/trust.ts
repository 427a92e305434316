/**
 * Which roots to trust, of a bundle that anyone may have sent: those that are known by their pins, and those that a trusted
 * one endorses, and so on. Nothing else in a bundle counts.
 */
import type { X509Certificate } from 'node:crypto';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import { endorses, isSignedBy } from './endorsement.ts';
import { certificateBlocks, readCertificate } from './pem.ts';
import { pinBytes, pinOfSpki, spkiOf } from './pin.ts';
import { acceptKey } from './spki.ts';
import { pathLength } from './x509-fields.ts';

/** The largest bundle that is read, and the most certificates in it: two roots and their endorsements are far below. */
export const MAX_BUNDLE_BYTES = 64 * 1024;
const MAX_BUNDLE_CERTIFICATES = 16;

/** A root: a CA that signed itself. */
export interface Root {
  readonly certPem: string;
  /** The pin of its key. */
  readonly pin: string;
  readonly x509: X509Certificate;
}

/**
 * The roots in `bundle` that whoever trusts the roots with `pins` may trust at `now` (ms since 1970), in the bundle's
 * order; none, if no root with such a pin is among them.
 * @throws FairleadError VALIDATION if the bundle is too large, or a pin is malformed
 */
export function trustFrom(bundle: string, pins: string | readonly string[], now: number): Root[] {
  const certificates = readBundle(bundle);
  const roots = rootsAmong(certificates);
  const known = new Set((typeof pins === 'string' ? [pins] : pins).map((pin) => pinBytes(pin).toString('hex')));
  const trusted = new Set(roots.filter(({ pin }) => known.has(pinBytes(pin).toString('hex'))));
  // Each round adds a root or is the last one. A set in growth is iterated to its end.
  for (const by of trusted) {
    for (const root of roots) {
      if (trusted.has(root)) continue;
      if (certificates.some((one) => endorses(one, { by: by.x509, root: root.x509, now }))) trusted.add(root);
    }
  }
  return roots.filter((root) => trusted.has(root));
}

/**
 * The roots in a text that is trusted as it is, such as one's own file: each key once.
 * @throws FairleadError VALIDATION if it holds none, or is too large
 */
export function rootsIn(bundle: string): Root[] {
  const roots = rootsAmong(readBundle(bundle));
  if (roots.length === 0) throw new FairleadError('VALIDATION', 'there is no root certificate in it');
  return roots;
}

/** The roots as one PEM text, as TLS takes it. */
export function pemOf(roots: readonly Root[]): string {
  return roots.map(({ certPem }) => certPem).join('');
}

/** The certificates that can be read at all. @throws FairleadError VALIDATION if there are too many bytes or blocks */
export function readBundle(bundle: string): X509Certificate[] {
  const blocks = Buffer.byteLength(bundle) > MAX_BUNDLE_BYTES ? undefined : certificateBlocks(bundle);
  if (blocks === undefined || blocks.length > MAX_BUNDLE_CERTIFICATES) {
    throw new FairleadError(
      'VALIDATION',
      `a trust bundle has at most ${MAX_BUNDLE_CERTIFICATES} certificates and ${MAX_BUNDLE_BYTES} bytes`,
    );
  }
  return blocks.flatMap((block) => {
    const certificate = readIfValid(block);
    return certificate === undefined ? [] : [certificate];
  });
}

/** Whether `certificate` is a root: a CA with a key of ours, signed by that key. */
export function isRoot(certificate: X509Certificate): boolean {
  if (!certificate.ca) return false;
  try {
    acceptKey(spkiOf(certificate.publicKey));
    return pathLength(certificate) !== undefined && isSignedBy(certificate, certificate);
  } catch (error) {
    if (isFairleadError(error)) return false;
    throw error;
  }
}

function rootsAmong(certificates: readonly X509Certificate[]): Root[] {
  const roots = new Map<string, Root>();
  for (const x509 of certificates) {
    if (!isRoot(x509)) continue;
    const pin = pinOfSpki(spkiOf(x509.publicKey));
    if (!roots.has(pin)) roots.set(pin, { certPem: `${x509.toString()}`, pin, x509 });
  }
  return [...roots.values()];
}

/** Its label alone makes no text a certificate, and its key may be of a kind that cannot even be loaded. */
function readIfValid(pem: string): X509Certificate | undefined {
  try {
    const certificate = readCertificate(pem);
    void certificate.publicKey;
    return certificate;
  } catch {
    return undefined;
  }
}
