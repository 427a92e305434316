/** The two forms of every read: a table for people, JSON for programs. */
import { jsonLine, printable } from '../../shared/printable.ts';
import type { Unreachable } from './api-types.ts';
import type { GlobalOptions } from './connect.ts';
import { type CliIo, write } from './io.ts';
import { type Column, table } from './table.ts';

/** Prints `value` as indented JSON. */
export async function printJson(io: CliIo, value: unknown): Promise<void> {
  await write(io.stdout, jsonLine(value, 2));
}

/** Prints rows as a table, or as a JSON array with `--json`. */
export async function printRows<T>(
  io: CliIo,
  options: GlobalOptions,
  rows: readonly T[],
  columns: readonly Column<T>[],
): Promise<void> {
  if (options.json) await printJson(io, rows);
  else await write(io.stdout, table(rows, columns));
}

/** Prints what `text` makes of `value`, or the value itself with `--json`. */
export async function print<T>(io: CliIo, options: GlobalOptions, value: T, text: (value: T) => string): Promise<void> {
  if (options.json) await printJson(io, value);
  else await write(io.stdout, text(value));
}

/** Says on stderr which hosts did not answer, and why. */
export async function tellUnreachable(io: CliIo, unreachable: readonly Unreachable[]): Promise<void> {
  for (const { host, code, detail } of unreachable) {
    await write(io.stderr, `fairlead: ${printable(`${host}: ${detail} (${code})`)}\n`);
  }
}
