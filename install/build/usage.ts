/** What builds have in common on their command lines: how they end when something is wrong. */

/** Says on stderr what was wrong. @returns the exit code: 2 for bad usage */
export function failed(name: string, error: unknown): number {
  const misused = error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  const what = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${name}: ${what}${misused ? '; --help shows the options' : ''}\n`);
  return misused ? 2 : 1;
}
