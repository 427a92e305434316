/** `stack migrate`: a stack from one host to another. */
import type { Command } from 'commander';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { jsonLine, printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import type { StackMigration } from '../api-types.ts';
import { type ActionContext, act, type Cli } from '../commander.ts';
import { write } from '../io.ts';
import { records } from '../ndjson.ts';

/** From the request to the first line: both hosts are looked at first. */
const BEGIN_MS = 200_000;

interface Options {
  as?: string;
  keep?: boolean;
}

export function addMigrate(stack: Command, cli: Cli): void {
  const migrate = stack
    .command('migrate')
    .description('carry a stack with its volumes to another host')
    .argument('<host>')
    .argument('<stack>')
    .argument('<target>', 'the other host')
    .option('--as <name>', 'under this name there')
    .option('--keep', 'leave it where it was, stopped')
    .addHelpText(
      'after',
      '\nThe stack stands still meanwhile. What fails is rolled back. Ctrl-C leaves the migration going on: `fairlead audit` ' +
        'shows how it ends.',
    );
  act<Options, [string, string, string]>(migrate, cli, async (context, host, name, to) => {
    const { as, keep } = context.options;
    const result = await follow(context, path`/api/v1/hosts/${host}/stacks/${name}/migrate`, { to, as, keep });
    if (context.options.json) return;
    const { stack: there, volumes, kept } = result;
    const count = `${volumes.length} ${volumes.length === 1 ? 'volume' : 'volumes'}`;
    const source = kept ? `is stopped on ${host}` : `is gone from ${host}`;
    await write(context.io.stdout, `${printable(`${there} is on ${to} with ${count}, and ${source}`)}\n`);
  });
}

/** Shows what is done, and returns how it ended. @throws FairleadError what it failed with */
async function follow({ api, io, options }: ActionContext<Options>, to: string, body: object): Promise<StackMigration> {
  const answer = await api.stream(to, { accept: 'application/x-ndjson', method: 'POST', body, timeoutMs: BEGIN_MS });
  try {
    for await (const value of records(answer)) {
      if (options.json) await write(io.stdout, jsonLine(value));
      const { progress, result } = value as { progress?: { step: string; line: string }; result?: StackMigration };
      if (result !== undefined) return result;
      if (progress === undefined || options.json) continue;
      await write(io.stderr, `${printable(`${progress.step}: ${progress.line}`)}\n`);
    }
  } catch (error) {
    if (!isFairleadError(error, 'STREAM_INTERRUPTED')) throw error;
    const detail = `${error.message}; unless it says otherwise, the migration goes on: \`fairlead audit\` shows how it ends`;
    throw new FairleadError(error.code, detail, { cause: error });
  }
  throw new FairleadError('STREAM_INTERRUPTED', 'the answer ended before the migration, which goes on');
}
