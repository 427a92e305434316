/** The command line of fairlead-agent: commands whose flags are made from schemas, and the one of them that is run. */
import { Command } from 'commander';
import type { Static, TObject } from 'typebox';
import { isFairleadError } from '../shared/errors.ts';
import { flagsOf, readFlags } from '../shared/flags.ts';
import { COMMIT, VERSION } from '../shared/version.ts';
import { UsageError } from './config.ts';
import { EXIT, type ExitCode } from './link/outcome.ts';
import { NAME } from './log.ts';

/** What commander found on the command line. */
export type Given = Readonly<Record<string, unknown>>;
export type Action<S extends TObject> = (flags: Static<S>, given: Given, rest: readonly string[]) => Promise<ExitCode>;

export interface CommandOptions {
  /** For other processes of the agent, not for people. */
  readonly hidden?: boolean;
  /** Takes what comes after `--` as it is. */
  readonly takesRest?: boolean;
}

export class CommandLine {
  readonly #env: NodeJS.ProcessEnv;
  readonly #program = new Command(NAME)
    .description('Connects a Docker host to its Fairlead server.')
    .version(COMMIT === undefined ? VERSION : `${VERSION} (${COMMIT})`)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, `${NAME}: `)) })
    .exitOverride();
  #chosen: (() => Promise<ExitCode>) | undefined;

  /** @param env where flags stand that the command line does not have */
  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env;
  }

  /** Adds a command. */
  command<S extends TObject>(
    name: string,
    description: string,
    schema: S,
    action: Action<S>,
    { hidden = false, takesRest = false }: CommandOptions = {},
  ): void {
    const it = this.#program.command(name, { hidden }).description(description).allowExcessArguments(takesRest);
    for (const { syntax, description: text, repeatable } of flagsOf(schema)) {
      if (repeatable) it.option(syntax, text, (value, before: string[] = []) => [...before, value]);
      else it.option(syntax, text);
    }
    it.action((given: Given) => {
      this.#chosen = () => action(this.#read(schema, given), given, it.args);
    });
  }

  /** Runs the command that `argv` names. @throws CommanderError, UsageError, and what the command does */
  async run(argv: readonly string[]): Promise<ExitCode> {
    await this.#program.parseAsync(argv);
    return (await this.#chosen?.()) ?? EXIT.stopped;
  }

  #read<S extends TObject>(schema: S, given: Given): Static<S> {
    try {
      return readFlags(schema, given, this.#env);
    } catch (error) {
      throw isFairleadError(error, 'VALIDATION') ? new UsageError(error.message, { cause: error }) : error;
    }
  }
}
