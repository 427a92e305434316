/** Puts variables into one value of a Compose file, as far as it can be told without Compose what they come to. */
import type { StackEnv } from '../messages/stack.ts';

const NAME = '[A-Za-z_][A-Za-z0-9_]*';
const VARIABLE = new RegExp(
  `\\$(?:(?<dollar>\\$)|(?<plain>${NAME})|\\{(?<name>${NAME})(?:(?<sign>:?-)(?<fallback>[^{}$]*))?\\})`,
  'g',
);

/** The value, or undefined where a variable is missing or stands in a form that only Compose reads. */
export function interpolate(text: string, env: StackEnv): string | undefined {
  let isKnown = true;
  const rest = text.replace(VARIABLE, '');
  const value = text.replace(VARIABLE, (...found) => {
    const { dollar, plain, name = plain, sign, fallback = '' } = found.at(-1) as Record<string, string | undefined>;
    if (dollar !== undefined) return '$';
    const given = Object.hasOwn(env, name ?? '') ? env[name ?? ''] : undefined;
    if (given !== undefined && !(given === '' && sign === ':-')) return given;
    if (sign === undefined) isKnown = false;
    return fallback;
  });
  return isKnown && !rest.includes('$') ? value : undefined;
}
