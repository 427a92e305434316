/** Times as the log options take them. */
import type { LogRange } from '../../shared/docker/log-tail.ts';
import { usageError } from './errors.ts';

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * A time as Docker's API takes it: a duration such as `10m` or `1h30m` becomes that long before `now` (ms since 1970)
 * in Unix seconds; Unix seconds and RFC 3339 stay as they are.
 */
export function dockerTime(text: string, now: number): string {
  if (/^\d+(\.\d{1,9})?$/.test(text)) return text;
  if (/^(\d+[smhd])+$/.test(text)) {
    const parts = [...text.matchAll(/(\d+)([smhd])/g)];
    const seconds = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNIT_SECONDS[unit ?? 's'] ?? 0), 0);
    return (now / 1000 - seconds).toFixed(3);
  }
  if (/^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(Date.parse(text))) return text;
  throw usageError(`'${text}' is no time: give RFC 3339, Unix seconds or a duration such as 10m`);
}

/** A time as RFC 3339: that of `text` itself, in Unix seconds, or as long before `now` (ms since 1970) as a duration says. */
export function instant(text: string, now: number): string {
  const time = dockerTime(text, now);
  const ms = /^\d+(\.\d+)?$/.test(time) ? Number(time) * 1000 : Date.parse(time);
  return new Date(ms).toISOString();
}

/** Which part of a log the options ask for, durations before `now` (ms since 1970). */
export function logRange(
  { tail, since, until }: { tail?: number | 'all'; since?: string; until?: string },
  now: number,
): LogRange {
  return {
    ...(tail === undefined || tail === 'all' ? {} : { tail }),
    ...(since ? { since: dockerTime(since, now) } : {}),
    ...(until ? { until: dockerTime(until, now) } : {}),
  };
}

/** The last instant of RFC 3339, in ms since 1970. */
const LAST_MS = Date.UTC(10_000, 0) - 1;

/** When what lives for `seconds` from `now` (ms since 1970) expires, in RFC 3339. @throws CliError for a time too far ahead */
export function expiryAfter(now: number, seconds: number): string {
  const at = now + seconds * 1000;
  if (at > LAST_MS) throw usageError('--expires is too far ahead: leave it out for what never expires');
  return new Date(at).toISOString();
}
