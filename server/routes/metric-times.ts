/** Times and steps as questions about metrics give them. */
import { FairleadError } from '../../shared/errors.ts';

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
const UNIX = /^\d{1,12}(\.\d{1,9})?$/;
const RELATIVE = /^-((?:\d{1,9}[smhdw]){1,5})$/;
const DATE = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/;
const STEP = /^(\d{1,9})([smhd]?)$/;
const MAX_STEP_SECONDS = 366 * 86_400;

/**
 * The Unix seconds that `text` stands for: RFC 3339, Unix seconds, `now`, or as long before it as `-1h30m` says.
 * @param now Unix seconds
 * @throws FairleadError VALIDATION that names the parameter
 */
export function readTime(name: string, text: string, now: number): number {
  if (text === 'now') return now;
  if (UNIX.test(text)) return Number(text);
  const [, parts] = RELATIVE.exec(text) ?? [];
  if (parts !== undefined) return Math.max(0, now - secondsOf(parts));
  // A time without a zone is one of UTC, as all that is answered.
  const ms = DATE.test(text) ? Date.parse(/[T ].*(Z|[+-]\d\d:\d\d)$/.test(text) ? text : toUtc(text)) : Number.NaN;
  if (!Number.isNaN(ms)) return ms / 1000;
  throw new FairleadError(
    'VALIDATION',
    `${name} is no time: give RFC 3339 (2026-01-31T12:00:00Z), Unix seconds, or how long ago (-1h, -7d)`,
  );
}

/** The seconds of a step such as `60`, `60s`, `5m` or `1h`. @throws FairleadError VALIDATION */
export function readStep(text: string): number {
  const [, count, unit] = STEP.exec(text) ?? [];
  const seconds = Number(count) * (UNIT_SECONDS[unit || 's'] ?? Number.NaN);
  if (seconds >= 1 && seconds <= MAX_STEP_SECONDS) return seconds;
  throw new FairleadError('VALIDATION', 'step is no step: give seconds, or a duration such as 30s, 5m, 1h or 1d');
}

function secondsOf(parts: string): number {
  let seconds = 0;
  for (const [, count, unit] of parts.matchAll(/(\d+)([smhdw])/g)) {
    seconds += Number(count) * (UNIT_SECONDS[unit ?? 's'] ?? 0);
  }
  return seconds;
}

function toUtc(text: string): string {
  return text.length === 'YYYY-MM-DD'.length ? text : `${text}Z`;
}
