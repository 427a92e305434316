/** Which CAs end soon, and what is to be done about it. */
import { readCertificate } from '../../certs/pem.ts';
import type { CaState } from './ca-state.ts';

const DAY_MS = 24 * 60 * 60_000;
/** A root that ends sooner than this is worth a warning: a rotation has to reach every host. */
const ROOT_WARN_DAYS = 180;
/** An intermediate that does: someone has to go to the offline root. */
const INTERMEDIATE_WARN_DAYS = 90;

/** @param now ms since 1970 */
export function expiryWarnings({ current }: CaState, now: number): string[] {
  const root = daysTo(readCertificate(current.rootPem).validToDate, now);
  const own = daysTo(current.notAfter, now);
  const warnings: string[] = [];
  if (root < ROOT_WARN_DAYS) {
    const way = current.isIntermediate ? 'a new offline root (fairlead ca init)' : 'fairlead ca rotate';
    warnings.push(`the certificate authority expires soon, in ${root} days: rotate it with ${way}`);
  }
  if (current.isIntermediate && own < INTERMEDIATE_WARN_DAYS) {
    const way = 'renew it with fairlead ca request, sign and import';
    warnings.push(`the intermediate CA expires soon, in ${own} days: ${way}`);
  }
  return warnings;
}

function daysTo(end: Date, now: number): number {
  return Math.floor((end.getTime() - now) / DAY_MS);
}
