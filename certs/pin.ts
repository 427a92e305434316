/** The pin: SHA-256 of a certificate's public key, by which a CA is known before it is trusted. */
import { createHash, type KeyObject } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';
import { readCertificate } from './pem.ts';

const PIN = /^(?:sha256:)?([0-9a-f]{64})$/i;

/** The pin of a SubjectPublicKeyInfo in DER: `sha256:` and 64 lower-case hex digits. */
export function pinOfSpki(spki: Buffer): string {
  return `sha256:${createHash('sha256').update(spki).digest('hex')}`;
}

/** The SubjectPublicKeyInfo of a public key, in DER. */
export function spkiOf(publicKey: KeyObject): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' });
}

/**
 * The pin of the one certificate in `certPem`.
 * @throws FairleadError VALIDATION if the text is not exactly one certificate.
 */
export function spkiPin(certPem: string): string {
  return pinOfSpki(spkiOf(readCertificate(certPem).publicKey));
}

/**
 * The 32 bytes of a pin, with or without `sha256:`, in any case.
 * @throws FairleadError VALIDATION
 */
export function pinBytes(pin: string): Buffer {
  const hex = PIN.exec(pin.trim())?.[1];
  if (hex === undefined) throw new FairleadError('VALIDATION', 'a fingerprint is "sha256:" and 64 hex digits');
  return Buffer.from(hex, 'hex');
}
