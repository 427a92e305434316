/** `host recoveries`, `approve`, `deny` and `release`: hosts that somebody has to let in again. */
import type { Command } from 'commander';
import { type ApiClient, path } from '../api-client.ts';
import type { RecoveryView } from '../api-types.ts';
import { act, type Cli } from '../commander.ts';
import { CliError, usageError } from '../errors.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { printRows } from '../output.ts';

const RECOVERIES = '/api/v1/recoveries';

export function addRecoveries(host: Command, cli: Cli): void {
  const list = host.command('recoveries').description('list the hosts that ask for a new certificate');
  act(list, cli, async ({ api, io, options }) => {
    await printRows(io, options, await api.list<RecoveryView>(RECOVERIES), [
      ['HOST', (row) => row.hostName ?? row.hostId],
      ['STATE', (row) => row.state],
      ['ASKED', (row) => relative(row.requestedAt, io.now())],
      ['FROM', (row) => row.address],
      ['BECAUSE', (row) => row.why],
      ['NEW KEY', (row) => row.spkiPin],
    ]);
  });

  const approve = host
    .command('approve')
    .description('give a host that asks for it a new certificate')
    .argument('[host]', 'its name or id')
    .option('--all', 'every host that is waiting');
  act<{ all?: boolean }, [string | undefined]>(approve, cli, async ({ api, io, options }, ref) => {
    if ((ref === undefined) === (options.all !== true)) throw usageError('name one host, or give --all');
    for (const row of ref === undefined ? await waiting(api) : [await recoveryOf(api, ref)]) {
      await api.post(path`/api/v1/recoveries/${row.id}/approve`);
      await write(io.stdout, `Approved ${row.hostName ?? row.hostId}.\n`);
    }
  });

  const deny = host.command('deny').description('deny a host a new certificate; its agent gives up').argument('<host>');
  act<object, [string]>(deny, cli, async ({ api, io }, ref) => {
    await api.post(path`/api/v1/recoveries/${(await recoveryOf(api, ref)).id}/deny`);
    await write(io.stdout, `Denied ${ref}.\n`);
  });

  const release = host
    .command('release')
    .description('let a host in quarantine in again, after its copy was found')
    .argument('<host>');
  act<object, [string]>(release, cli, async ({ api, io }, ref) => {
    await api.post(path`/api/v1/hosts/${ref}/release`);
    await write(io.stdout, `Released ${ref}.\n`);
  });
}

async function waiting(api: ApiClient): Promise<RecoveryView[]> {
  return (await api.list<RecoveryView>(RECOVERIES)).filter(({ state }) => state === 'pending');
}

/** What the host asks for, decided or not: a decision can be changed until the host has its certificate. */
async function recoveryOf(api: ApiClient, ref: string): Promise<RecoveryView> {
  const key = ref.toLowerCase();
  const rows = await api.list<RecoveryView>(RECOVERIES);
  const found = rows.find(({ hostId, hostName }) => hostId === key || hostName?.toLowerCase() === key);
  if (found !== undefined) return found;
  throw new CliError(`${ref} asks for no certificate: see fairlead host recoveries`);
}
