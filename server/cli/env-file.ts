/** Files of variables: a line NAME=VALUE for each, as Compose and Docker read them. */
import { CliError } from './errors.ts';

const LINE = /^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$/;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

/**
 * Blank lines and lines that begin with # are left out. A value is all behind the =, without what is blank around it and
 * without a comment behind it; in single quotes it is as it stands, in double quotes with \n, \", \\ and \$.
 * @param file names it in errors, which never show a value @throws CliError with the line
 */
export function parseEnv(text: string, file: string): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const [, name, rest = ''] = LINE.exec(trimmed) ?? [];
    const value = name === undefined ? undefined : readValue(rest.trim());
    if (name === undefined || value === undefined) {
      throw new CliError(
        `${file}, line ${index + 1}: write NAME=VALUE, with a quote at its end if there is one before it`,
      );
    }
    env[name] = value;
  }
  return env;
}

/** Undefined: a quote is open at its end. */
function readValue(text: string): string | undefined {
  const single = /^'([^']*)'(?:\s+#.*)?$/.exec(text);
  if (single !== null) return single[1];
  const double = /^"((?:[^"\\]|\\.)*)"(?:\s+#.*)?$/.exec(text);
  if (double !== null) return double[1]?.replace(/\\(.)/g, (_all, char: string) => ESCAPES[char] ?? char);
  if (/^['"]/.test(text)) return undefined;
  return text.replace(/(?:^|\s+)#.*$/, '');
}
