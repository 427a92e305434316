/** `stack ls` and `stack bulk`: the stacks of many hosts. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { FleetStacks, StackSummary } from '../api-types.ts';
import { type BulkHow, bulkBody, bulkOptions, runBulk } from '../bulk.ts';
import { act, type Cli, collect, seconds } from '../commander.ts';
import { usageError } from '../errors.ts';
import { relative } from '../format.ts';
import { printRows, tellUnreachable } from '../output.ts';
import type { Column } from '../table.ts';

interface SelectOptions {
  tag?: string[];
  name?: string[];
}

function selecting(command: Command): Command {
  return command
    .option('--tag <tag>', 'of all hosts with this tag; may repeat', collect)
    .option('--name <pattern>', 'of this name; * and ? stand for other characters; may repeat', collect);
}

function selection({ tag, name }: SelectOptions): Record<string, string[]> {
  return { ...(tag === undefined ? {} : { tag }), ...(name === undefined ? {} : { name }) };
}

export function addList(stack: Command, cli: Cli): void {
  const ls = stack
    .command('ls')
    .description('list the stacks of a host, or of all, those that others have deployed, too')
    .argument('[host]');
  act<SelectOptions, [string | undefined]>(selecting(ls), cli, async ({ api, io, options }, host) => {
    if (host !== undefined && options.tag !== undefined) throw usageError('give a host or --tag, not both');
    const columns = stackColumns(io.now());
    if (host !== undefined && options.name === undefined) {
      return printRows(io, options, await api.list<StackSummary>(path`/api/v1/hosts/${host}/stacks`), columns);
    }
    const query = { host, ...selection(options) };
    const { items, unreachable } = await api.get<FleetStacks>('/api/v1/stacks', { query });
    const rows = items.toSorted((a, b) => a.host.localeCompare(b.host));
    await printRows(io, options, rows, [['HOST', (row) => row.host], ...columns]);
    await tellUnreachable(io, unreachable);
  });
}

function stackColumns(now: number): Column<StackSummary>[] {
  return [
    ['STACK', ({ name }) => name],
    ['RUNNING', ({ running, containers }) => `${running}/${containers}`],
    ['SERVICES', ({ services }) => services.join(',')],
    ['REVISION', ({ revision }) => revision?.revision],
    ['DEPLOYED', ({ revision }) => relative(revision?.finishedAt, now)],
    ['BY', ({ revision, managed }) => (managed ? revision?.createdBy : '(others)')],
    ['LATEST', ({ latest }) => (latest === null ? undefined : `${latest.revision} ${latest.state}`)],
  ];
}

const VERBS = ['redeploy', 'pull', 'start', 'stop', 'restart'];

interface BulkOptions extends SelectOptions, BulkHow {
  pull?: boolean;
  prune?: boolean;
  timeout?: number;
}

export function addBulk(stack: Command, cli: Cli): void {
  const bulk = stack
    .command('bulk')
    .description('do one thing to many stacks of many hosts')
    .argument('<action>', VERBS.join(', '))
    .option('--pull', 'redeploy: pull all images first')
    .option('--prune', 'redeploy: remove containers of services that are not in the file')
    .option('--timeout <time>', 'end each after this time, as in 90s or 10m (default: 30m)', seconds)
    .addHelpText(
      'after',
      '\nredeploy and pull are for stacks that Fairlead has deployed, start for those that do not run in full, stop and\n' +
        'restart for those that run. Ctrl-C ends what goes on. Exits with 1 if one failed or a host did not answer.\n\n' +
        'Example: fairlead stack bulk redeploy --tag edge --name shop --pull',
    );
  act<BulkOptions, [string]>(selecting(bulkOptions(bulk)), cli, async (context, action) => {
    if (!VERBS.includes(action)) throw usageError(`there is no action ${action}: say ${VERBS.join(', ')}`);
    const { pull, prune, timeout } = context.options;
    const body = bulkBody(action, context.options, selection(context.options));
    if (body === undefined) throw usageError('say which: --tag, --host or --name, or --all of them');
    const all = { ...body, pull, prune, timeoutSeconds: timeout };
    if (!(await runBulk(context, '/api/v1/stacks/actions', all, 'stack'))) cli.exitCode = 1;
  });
}
