/** Durations as people write them: a whole number and a unit. */
import Type from 'typebox';
import type { FlagOptions } from './flags.ts';

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const FORM = /^(\d{1,7})([smhd])$/;

/** A duration in ms, from `90s`, `30m`, `12h` or `7d`; `0` needs no unit. Undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const [, count, unit = ''] = FORM.exec(text) ?? [];
  const factor = UNIT_MS[unit];
  return count === undefined || factor === undefined ? undefined : Number(count) * factor;
}

/** A flag whose value is a duration. */
export function durationFlag(options: FlagOptions & { readonly default: string }) {
  const expects = 'a duration such as 90s, 30m, 12h or 7d';
  return Type.String({ pattern: '^(0|\\d{1,7}[smhd])$', metavar: 'duration', expects, ...options });
}
