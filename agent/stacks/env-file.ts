/** The file by which Compose is given variables: so that it reads each value as it was given, whichever Compose it is. */
import { FairleadError } from '../../shared/errors.ts';
import type { StackEnv } from '../../shared/messages/stack.ts';

const DOLLAR = '$';
/** A variable without a name, which nobody can set, and its default. */
const NAMELESS = `${DOLLAR}{:-${DOLLAR}}`;

/** @throws FairleadError UNSUPPORTED for a value that this Compose has no way to be told */
export function envFile(env: StackEnv, { isFirst }: { readonly isFirst: boolean }): string {
  const write = isFirst ? forCompose1 : forCompose2;
  return Object.entries(env)
    .map(([name, value]) => `${name}=${write(value, name)}\n`)
    .join('');
}

/** In double quotes, in which a backslash takes the meaning from whatever follows. */
function forCompose2(value: string): string {
  const escaped = value
    .replace(/[\\"$]/g, '\\$&')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r');
  return `"${escaped}"`;
}

/** In single quotes, in which `${…}` still means a variable: there, one without a name, whose default is a dollar. */
function forCompose1(value: string, name: string): string {
  if (/\\(?:'|$)|\r/.test(value)) {
    const what = 'a backslash before a quote or at its end, or a carriage return';
    throw new FairleadError(
      'UNSUPPORTED',
      `this host's Compose 1 cannot be given the variable ${name}: its value has ${what}; install Docker Compose 2`,
    );
  }
  const escaped = value
    .replaceAll('\\', '\\\\')
    .replaceAll("'", "\\'")
    .replace(/\$(?=\{)/g, () => NAMELESS);
  return `'${escaped}'`;
}
