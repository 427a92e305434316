/** `bulk`: one action on many containers of many hosts, with a summary. */
import type { Command } from 'commander';
import { type BulkHow, bulkBody, bulkOptions, runBulk } from '../bulk.ts';
import { act, type Cli, wholeNumber } from '../commander.ts';
import { type SelectOptions, selecting, selection } from '../container-select.ts';
import { usageError } from '../errors.ts';

const VERBS = ['start', 'stop', 'restart', 'pause', 'unpause', 'kill', 'remove'];

interface BulkOptions extends SelectOptions, BulkHow {
  time?: number;
  signal?: string;
  force?: boolean;
  volumes?: boolean;
}

export function addBulk(root: Command, cli: Cli): void {
  const bulk = root
    .command('bulk')
    .description('do one thing to many containers of many hosts')
    .argument('<action>', VERBS.join(', '))
    .option('-t, --time <seconds>', 'stop, restart: before it is killed', wholeNumber(-1))
    .option('-s, --signal <name>', 'kill: with this signal')
    .option('-f, --force', 'remove: running ones, too')
    .option('-v, --volumes', 'remove: their anonymous volumes, too')
    .addHelpText(
      'after',
      '\nWithout --state those are meant that the action is for: stop and restart the running, start and remove the\n' +
        'stopped. Exits with 1 if one failed or a host did not answer. For stacks: fairlead stack bulk.\n\n' +
        'Example: fairlead bulk restart --tag edge --name web',
    );
  act<BulkOptions, [string]>(selecting(bulkOptions(bulk)), cli, async (context, action) => {
    if (!VERBS.includes(action)) throw usageError(`there is no action ${action}: say ${VERBS.join(', ')}`);
    const { time, signal, force, volumes } = context.options;
    const body = bulkBody(action, context.options, selection(context.options));
    if (body === undefined) {
      throw usageError('say which: --tag, --host, --name, --image, --state or --label, or --all of them');
    }
    const all = { ...body, timeoutSeconds: time, signal, force, volumes };
    if (!(await runBulk(context, '/api/v1/containers/actions', all, 'container'))) cli.exitCode = 1;
  });
}
