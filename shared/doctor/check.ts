/** One thing that a doctor has looked at: how it is, in a sentence, and what to do about it. */
import Type, { type Static } from 'typebox';
import { printable } from '../printable.ts';

/** `warn`: it works, and will not for ever or not for all; `fail`: it does not work. */
export const CheckLevel = Type.Union([Type.Literal('ok'), Type.Literal('warn'), Type.Literal('fail')]);
export type CheckLevel = Static<typeof CheckLevel>;

export const Check = Type.Object({
  id: Type.String({ pattern: '^[a-z0-9.-]+$', description: 'Stable; for programs' }),
  level: CheckLevel,
  summary: Type.String({ description: 'What was found' }),
  advice: Type.Optional(Type.String({ description: 'What to do about it' })),
});
export type Check = Static<typeof Check>;

/** Names in one sentence; more are counted. */
const MAX_NAMES = 10;
const LEVELS: readonly CheckLevel[] = ['ok', 'warn', 'fail'];

export function ok(id: string, summary: string): Check {
  return { id, level: 'ok', summary };
}

export function warn(id: string, summary: string, advice: string): Check {
  return { id, level: 'warn', summary, advice };
}

export function fail(id: string, summary: string, advice: string): Check {
  return { id, level: 'fail', summary, advice };
}

/** The worst level among `checks`. */
export function worstOf(checks: readonly Check[]): CheckLevel {
  return LEVELS[Math.max(0, ...checks.map(({ level }) => LEVELS.indexOf(level)))] ?? 'ok';
}

/** `a, b and 3 more`. */
export function named(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES);
  const more = names.length - shown.length;
  return more === 0 ? shown.join(', ') : `${shown.join(', ')} and ${more} more`;
}

/** `1 host`, `2 hosts`. */
export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

/** The checks for people, one on a line, with the advice below it. */
export function formatChecks(checks: readonly Check[]): string {
  const width = Math.max(0, ...checks.map(({ id }) => id.length));
  const lines = checks.flatMap(({ id, level, summary, advice }) => [
    `${level.padEnd(4)}  ${id.padEnd(width)}  ${summary}`,
    ...(advice === undefined ? [] : [`${' '.repeat(6 + width)}  -> ${advice}`]),
  ]);
  return lines.map((line) => `${printable(line)}\n`).join('');
}

/** What it comes to, in a line. */
export function verdict(checks: readonly Check[]): string {
  const of = (level: CheckLevel) => checks.filter((check) => check.level === level).length;
  const [failed, warned] = [of('fail'), of('warn')];
  if (failed + warned === 0) return `${count(checks.length, 'check')}, all well\n`;
  return `${count(checks.length, 'check')}: ${failed} failed, ${count(warned, 'warning')}\n`;
}
