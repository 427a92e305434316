/** What the journal says of each sort of thing that can be revoked. Times are ms since 1970. */
import { AGENT_CERT_DAYS } from '../../shared/limits.ts';
import type { Revocation } from './revocation-journal.ts';

const DAY_MS = 24 * 60 * 60_000;
/** An expired certificate may still be shown to get its host back: so long is it remembered as revoked. */
export const AFTER_EXPIRY_MS = 90 * DAY_MS;
/** No certificate that was issued before a host was revoked lives longer. */
export const HOST_MS = 2 * AGENT_CERT_DAYS * DAY_MS + AFTER_EXPIRY_MS;

export function revokedCertificate(serial: string, at: number, notAfter: number, reason: string): Revocation {
  return { kind: 'certificate', id: serial, at, until: notAfter + AFTER_EXPIRY_MS, reason };
}

/** Its host has used the one that followed. */
export function supersededCertificate(serial: string, at: number, notAfter: number, reason: string): Revocation {
  return { kind: 'superseded', id: serial, at, until: notAfter + AFTER_EXPIRY_MS, reason };
}

export function revokedHost(id: string, at: number, reason: string): Revocation {
  return { kind: 'host', id, at, until: at + HOST_MS, reason };
}

/** @param at when it ends: one that was replaced goes on until then @param expiresAt null: never */
export function revokedApiToken(id: string, at: number, expiresAt: number | null): Revocation {
  return { kind: 'api-token', id, at, ...(expiresAt === null ? {} : { until: expiresAt }) };
}

/** As `revokedApiToken`. */
export function revokedHawserToken(id: string, at: number, expiresAt: number | null): Revocation {
  return { kind: 'hawser-token', id, at, ...(expiresAt === null ? {} : { until: expiresAt }) };
}

export function revokedOperatorCertificate(serial: string, at: number, notAfter: number): Revocation {
  return { kind: 'operator-certificate', id: serial, at, until: notAfter };
}

/** A user that was removed. Its id never comes back, its name may. */
export function removedUser(id: string, at: number): Revocation {
  return { kind: 'user', id, at };
}

/** A webhook that was removed. Its id never comes back. */
export function removedWebhook(id: string, at: number): Revocation {
  return { kind: 'webhook', id, at };
}

export function spentEnrollmentToken(how: 'revoked' | 'used', id: string, at: number, expiresAt: number): Revocation {
  return { kind: how === 'used' ? 'enrollment-token-used' : 'enrollment-token', id, at, until: expiresAt };
}
