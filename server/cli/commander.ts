/** What the commands share about their command lines: option parsers, and the way from parsed options to an action. */
import { type Command, InvalidArgumentError } from 'commander';
import type { ApiClient } from './api-client.ts';
import { connect, type GlobalOptions } from './connect.ts';
import type { CliIo } from './io.ts';

/** One run of the CLI. */
export interface Cli {
  readonly io: CliIo;
  /** What the process exits with if nothing fails: exec sets it to the code of its process. */
  exitCode: number;
}

/** What an action gets besides its arguments. */
export interface ActionContext<O> {
  readonly api: ApiClient;
  readonly io: CliIo;
  readonly options: O & GlobalOptions;
}

type Action<O, A extends unknown[]> = (context: ActionContext<O>, ...args: A) => Promise<void>;

/** Makes `action` the command's own: it gets the options, global ones included, and a client that is closed after it. */
export function act<O extends object, A extends unknown[] = []>(
  command: Command,
  cli: Cli,
  action: Action<O, A>,
): void {
  command.action(async (...given: unknown[]) => {
    // Commander passes the declared arguments, then the options, then the command.
    const args = given.slice(0, -2) as A;
    const options = command.optsWithGlobals<O & GlobalOptions>();
    const api = await connect(options, cli.io);
    try {
      await action({ api, io: cli.io, options }, ...args);
    } finally {
      api.close();
    }
  });
}

/** Collects a repeatable option. */
export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

/** Parses a whole number from `min` up, to `max` if there is one. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value) || value < min || value > max) {
      const range = max === Number.MAX_SAFE_INTEGER ? `from ${min} up` : `from ${min} to ${max}`;
      throw new InvalidArgumentError(`It must be a whole number ${range}.`);
    }
    return value;
  };
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Parses a duration such as `90`, `30m`, `12h` or `7d` into seconds. */
export function seconds(text: string): number {
  const [, count, unit] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
  const factor = SECONDS[unit || 's'];
  if (count === undefined || factor === undefined || Number(count) === 0) {
    throw new InvalidArgumentError('It must be a duration such as 90s, 30m, 12h or 7d.');
  }
  return Number(count) * factor;
}
