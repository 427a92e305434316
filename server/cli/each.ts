/** Does the same to several things, one after the other: what fails is told, and spoils nothing for the rest. */
import { printable } from '../../shared/printable.ts';
import type { Cli } from './commander.ts';
import { describeError } from './errors.ts';
import { write } from './io.ts';

/** Calls `work` for each of `names`; the exit code is 1 if one of them failed. */
export async function forEach(
  cli: Cli,
  names: readonly string[],
  work: (name: string) => Promise<void>,
): Promise<void> {
  const [only] = names;
  if (only !== undefined && names.length === 1) return await work(only);
  for (const name of names) {
    try {
      await work(name);
    } catch (error) {
      cli.exitCode = 1;
      await write(cli.io.stderr, `fairlead: ${printable(`${name}: ${describeError(error)}`)}\n`);
    }
  }
}
