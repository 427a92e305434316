/** `volume`: the volumes of a host. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import { act, type Cli } from '../commander.ts';
import { type VolumeSummary, volumeColumns } from '../docker-objects.ts';
import { FILTER_FLAG, filter, filtersOf, pairs } from '../docker-words.ts';
import { forEach } from '../each.ts';
import { write } from '../io.ts';
import { printJson, printRows } from '../output.ts';
import { addPrune } from './prune.ts';

/** A little longer than the server gives a host for it. */
const CHANGE_MS = 160_000;

export function addVolume(root: Command, cli: Cli): void {
  const volume = root.command('volume').description('the volumes of a host');
  addReads(volume, cli);
  addCreate(volume, cli);
  addRemove(volume, cli);
  addPrune<{ VolumesDeleted: string[]; SpaceReclaimed: number }>(volume, cli, {
    family: 'volumes',
    what: () => 'all volumes that no container uses, with their contents,',
    lines: (reply) => reply.VolumesDeleted,
    freed: (reply) => reply.SpaceReclaimed,
  });
}

function addReads(volume: Command, cli: Cli): void {
  const ls = volume
    .command('ls')
    .description('list volumes')
    .argument('<host>')
    .option(FILTER_FLAG, 'only those that Docker finds by this; may repeat', filter);
  act<{ filter?: Record<string, string[]> }, [string]>(ls, cli, async ({ api, io, options }, host) => {
    const query = { filters: filtersOf(options.filter) };
    const volumes = await api.list<VolumeSummary>(path`/api/v1/hosts/${host}/volumes`, { query });
    await printRows(io, options, volumes, volumeColumns(io.now()));
  });

  const inspect = volume
    .command('inspect')
    .description('print all that Docker knows of a volume, as JSON')
    .argument('<host>')
    .argument('<volume>');
  act<object, [string, string]>(inspect, cli, async ({ api, io }, host, name) => {
    await printJson(io, await api.get<unknown>(path`/api/v1/hosts/${host}/volumes/${name}`));
  });
}

interface CreateOptions {
  driver?: string;
  label?: Record<string, string>;
  opt?: Record<string, string>;
}

function addCreate(volume: Command, cli: Cli): void {
  const create = volume
    .command('create')
    .description('make a volume; one of that name that is there already stays as it is')
    .argument('<host>')
    .argument('[name]', 'one of its own unless given')
    .option('-d, --driver <name>', 'local unless given')
    .option('-l, --label <key=value>', 'a label; may repeat', pairs)
    .option('-o, --opt <key=value>', 'an option of the driver; may repeat', pairs);
  act<CreateOptions, [string, string | undefined]>(create, cli, async ({ api, io, options }, host, name) => {
    const { driver, label, opt } = options;
    const body = {
      ...(name === undefined ? {} : { Name: name }),
      ...(driver === undefined ? {} : { Driver: driver }),
      ...(label === undefined ? {} : { Labels: label }),
      ...(opt === undefined ? {} : { DriverOpts: opt }),
    };
    const made = await api.change<VolumeSummary>('POST', path`/api/v1/hosts/${host}/volumes`, {
      body,
      timeoutMs: CHANGE_MS,
    });
    if (options.json) return await printJson(io, made);
    await write(io.stdout, `${printable(made.Name)}\n`);
  });
}

function addRemove(volume: Command, cli: Cli): void {
  const rm = volume
    .command('rm')
    .description('remove volumes that no container uses, and what is in them')
    .argument('<host>')
    .argument('<volumes...>')
    .option('-f, --force', 'also those that are not there');
  act<{ force?: boolean }, [string, string[]]>(rm, cli, async ({ api, io, options }, host, names) => {
    const query = { force: options.force ? 1 : undefined };
    await forEach(cli, names, async (name) => {
      await api.change('DELETE', path`/api/v1/hosts/${host}/volumes/${name}`, { query, timeoutMs: CHANGE_MS });
      await write(io.stdout, `${name}\n`);
    });
  });
}
