/** Asks before what cannot be taken back. */
import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import { CliError, usageError } from './errors.ts';
import { type CliIo, write } from './io.ts';

/**
 * Asks on the terminal whether to go on, unless `force`.
 * @param warning says what is going to be done
 * @param flag gives `force`, for who has no terminal
 * @throws CliError if the answer is not yes, or if there is no terminal to ask at
 */
export async function confirm(
  io: CliIo,
  warning: string,
  force: boolean | undefined,
  flag: '--force' | '--yes',
): Promise<void> {
  if (force === true) return;
  if (!io.stdin.isTTY) throw usageError(`${warning} There is no terminal to ask at: give ${flag} to do it`);
  await write(io.stderr, `${warning} Go on? [y/N] `);
  // The terminal itself edits the line, and ends the program at Ctrl-C.
  const lines = createInterface({ input: io.stdin, terminal: false });
  try {
    const [answer] = (await Promise.race([once(lines, 'line'), once(lines, 'close')])) as [string?];
    if (/^y(es)?$/i.test(answer?.trim() ?? '')) return;
  } finally {
    lines.close();
  }
  throw new CliError('nothing was done');
}
