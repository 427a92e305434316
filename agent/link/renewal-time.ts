/** When a certificate is renewed. */
import type { X509Certificate } from 'node:crypto';
import { CERT_BACKDATE_MS } from '../../shared/limits.ts';

/** The part of a short life before whose end renewal begins: with the longest jitter that is half of the life. */
const SHORT_LIFE_PART = 4 / 7;
/** Hosts that were enrolled together are spread over this part of the time they have left. */
const JITTER_PART = 1 / 8;

/** How long before its expiry renewal may begin, in ms. */
export function renewalWindow(certificate: X509Certificate, renewBeforeMs: number): number {
  const lifeMs = certificate.validToDate.getTime() - certificate.validFromDate.getTime() - CERT_BACKDATE_MS;
  return Math.min(renewBeforeMs, Math.max(0, lifeMs) * SHORT_LIFE_PART);
}

/** The time, ms since 1970, at which `certificate` is renewed. @param random a number in [0, 1) */
export function renewalTime(certificate: X509Certificate, renewBeforeMs: number, random: number): number {
  const windowMs = renewalWindow(certificate, renewBeforeMs);
  return certificate.validToDate.getTime() - windowMs + random * windowMs * JITTER_PART;
}
