/** Points in time as people write them, turned into what Docker's API takes. */
import { FairleadError } from '../errors.ts';

const UNIX = /^-?\d{1,12}(?:\.\d{1,9})?$/;
const DATE = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|[+-]\d\d:\d\d)?$/;
const DURATION = /^(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+$/;
const DURATION_PART = /(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)/g;
const UNIT_MS: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Unix seconds with up to nine decimals, RFC 3339 (UTC where it names no zone) or a duration before `now` such as
 * `1h30m`, as the Unix seconds that Docker's `since` and `until` take.
 * @param now ms since 1970
 * @throws FairleadError VALIDATION
 */
export function toDockerTime(text: string, now: number): string {
  if (UNIX.test(text)) return text;
  if (DURATION.test(text)) return ((now - durationMs(text)) / 1000).toFixed(9);
  const parts = DATE.exec(text);
  if (parts !== null) {
    const [, date, minutes = '00:00', seconds = '00', fraction = '', zone = 'Z'] = parts;
    const ms = Date.parse(`${date}T${minutes}:${seconds}${zone}`);
    // Nanoseconds are kept as text: a double does not hold them.
    if (!Number.isNaN(ms)) return `${ms / 1000}.${fraction.padEnd(9, '0')}`;
  }
  throw new FairleadError('VALIDATION', 'a time must be Unix seconds, RFC 3339, or a duration such as 10m');
}

function durationMs(text: string): number {
  let sum = 0;
  for (const [, number, unit] of text.matchAll(DURATION_PART)) sum += Number(number) * (UNIT_MS[unit ?? ''] ?? 0);
  return sum;
}
