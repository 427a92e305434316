/** How far two clocks may differ, and what to say of it. */
import { CERT_BACKDATE_MS } from '../limits.ts';
import { type Check, fail, ok, warn } from './check.ts';

/** From here on it is worth a word. */
export const NOTABLE_SKEW_MS = 2 * 60_000;
const ADVICE = 'set both clocks by NTP (timedatectl set-ntp true): certificates and tokens count by them';

/** `12 s ahead`. */
export function skewText(skewMs: number): string {
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const size = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return `${size} ${skewMs > 0 ? 'ahead' : 'behind'}`;
}

/** @param skewMs how far this machine's clock is ahead of the server's; of a time in whole seconds, and so not exact */
export function clockCheck(id: string, skewMs: number): Check {
  const off = Math.abs(skewMs);
  if (off < NOTABLE_SKEW_MS)
    return ok(id, `this machine's clock and the server's agree (within ${Math.ceil(off / 1000)} s)`);
  const summary = `this machine's clock is ${skewText(skewMs)} of the server's`;
  // A certificate that was just made counts from that long ago.
  return off < CERT_BACKDATE_MS ? warn(id, summary, ADVICE) : fail(id, summary, ADVICE);
}
