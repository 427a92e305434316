/** `ps`: the containers of one host, or of all. */
import type { Command } from 'commander';
import { type ApiClient, path } from '../api-client.ts';
import type { ContainerSummary, FanOut } from '../api-types.ts';
import { act, type Cli, wholeNumber } from '../commander.ts';
import type { GlobalOptions } from '../connect.ts';
import { type SelectOptions, selecting, selection } from '../container-select.ts';
import { CONTAINER_COLUMNS } from '../containers.ts';
import { usageError } from '../errors.ts';
import { type CliIo, write } from '../io.ts';
import { printRows, tellUnreachable } from '../output.ts';
import type { Column } from '../table.ts';

interface PsOptions extends GlobalOptions, SelectOptions {
  all?: boolean;
  limit?: number;
}

export function addPs(root: Command, cli: Cli): void {
  const ps = root
    .command('ps')
    .description('list containers, of one host or of all')
    .argument('[host]')
    .option('-a, --all', 'stopped ones, too, as with --state')
    .option('--limit <count>', 'only the newest', wholeNumber(1));
  act<PsOptions, [string | undefined]>(selecting(ps), cli, async ({ api, io, options }, host) => {
    if (host !== undefined && options.tag !== undefined) throw usageError('give a host or --tag, not both');
    const isNarrowed = Object.keys(selection(options)).length > 0 || options.limit !== undefined;
    if (host === undefined || isNarrowed) return listEverywhere(api, io, options, host);
    return printRows(io, options, await listContainers(api, host, options.all === true), CONTAINER_COLUMNS);
  });
}

/** The containers of one host, as Docker lists them. */
export async function listContainers(api: ApiClient, host: string, all: boolean): Promise<ContainerSummary[]> {
  const { items } = await api.get<{ items: ContainerSummary[] }>(path`/api/v1/hosts/${host}/containers`, {
    query: { all: all ? 1 : undefined },
  });
  return items;
}

/** Prints the containers of all hosts, or of one; a host that did not answer is told on stderr. */
async function listEverywhere(api: ApiClient, io: CliIo, options: PsOptions, host?: string): Promise<void> {
  const { all, limit } = options;
  const query = { all: all ? 1 : undefined, limit, host, ...selection(options) };
  const { items, unreachable, omitted } = await api.get<FanOut>('/api/v1/containers', { query });
  const rows = items.toSorted((a, b) => a.host.localeCompare(b.host));
  const columns: Column<FanOut['items'][number]>[] = [['HOST', (row) => row.host], ...CONTAINER_COLUMNS];
  await printRows(io, options, rows, columns);
  await tellUnreachable(io, unreachable);
  if (omitted !== undefined) await write(io.stderr, `fairlead: ${omitted} more are not shown\n`);
}
