/** `container`: acting on one container, and looking into it. */
import type { Command } from 'commander';
import { RepeatedSamples } from '../../../shared/docker/repeated-samples.ts';
import { jsonLine } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import type { ContainerTop, StatsSample } from '../api-types.ts';
import { ServerComeback } from '../comeback.ts';
import { type ActionContext, act, type Cli, wholeNumber } from '../commander.ts';
import { statsLine } from '../containers.ts';
import { write } from '../io.ts';
import { records } from '../ndjson.ts';
import { printJson } from '../output.ts';
import { type Column, table } from '../table.ts';
import { addContainerMake } from './container-make.ts';

interface ChangeOptions {
  time?: number;
  signal?: string;
  force?: boolean;
  volumes?: boolean;
}

/** How long the server may take beyond the time that Docker gives a container to stop. */
const STOP_MARGIN_MS = 60_000;

export function addContainer(root: Command, cli: Cli): void {
  const container = root.command('container').description('act on one container, or look into it');
  addChange(container, cli, 'start', 'start a container');
  addStop(addChange(container, cli, 'stop', 'stop a container'));
  addStop(addChange(container, cli, 'restart', 'restart a container'));
  addChange(container, cli, 'kill', 'kill a container').option(
    '-s, --signal <name>',
    'with this signal (default: KILL)',
  );
  addChange(container, cli, 'pause', 'freeze all processes of a container');
  addChange(container, cli, 'unpause', 'go on after pause');
  addRemove(container, cli);
  addInspect(container, cli);
  addTop(container, cli);
  addStats(container, cli);
  addContainerMake(container, cli);
}

function addStop(command: Command): void {
  command.option('-t, --time <seconds>', 'before it is killed; -1 waits for ever (default: its own)', wholeNumber(-1));
}

function addChange(container: Command, cli: Cli, verb: string, description: string): Command {
  const command = container.command(verb).description(description).argument('<host>').argument('<container>');
  act<ChangeOptions, [string, string]>(command, cli, async ({ api, io, options }, host, name) => {
    const query = { t: options.time, signal: options.signal };
    await api.change('POST', `${path`/api/v1/hosts/${host}/containers/${name}`}/${verb}`, {
      query,
      timeoutMs: Math.max(0, options.time ?? 0) * 1000 + STOP_MARGIN_MS,
    });
    await write(io.stdout, `${name}\n`);
  });
  return command;
}

function addRemove(container: Command, cli: Cli): void {
  const rm = container
    .command('rm')
    .description('remove a container')
    .argument('<host>')
    .argument('<container>')
    .option('-f, --force', 'kill it first if it runs')
    .option('-v, --volumes', 'its anonymous volumes, too');
  act<ChangeOptions, [string, string]>(rm, cli, async ({ api, io, options }, host, name) => {
    await api.change('DELETE', path`/api/v1/hosts/${host}/containers/${name}`, {
      query: { force: options.force ? 1 : undefined, volumes: options.volumes ? 1 : undefined },
    });
    await write(io.stdout, `${name}\n`);
  });
}

function addInspect(container: Command, cli: Cli): void {
  const inspect = container
    .command('inspect')
    .description('print all that Docker knows of a container, as JSON')
    .argument('<host>')
    .argument('<container>');
  act<object, [string, string]>(inspect, cli, async ({ api, io }, host, name) => {
    await printJson(io, await api.get<unknown>(path`/api/v1/hosts/${host}/containers/${name}`));
  });
}

function addTop(container: Command, cli: Cli): void {
  const top = container
    .command('top')
    .description('list the processes of a container')
    .argument('<host>')
    .argument('<container>');
  act<object, [string, string]>(top, cli, async ({ api, io, options }, host, name) => {
    const found = await api.get<ContainerTop>(path`/api/v1/hosts/${host}/containers/${name}/top`);
    if (options.json) return printJson(io, found);
    const columns = found.Titles.map((title, index): Column<string[]> => [title, (row) => row[index]]);
    return write(io.stdout, table(found.Processes, columns));
  });
}

function addStats(container: Command, cli: Cli): void {
  const stats = container
    .command('stats')
    .description('print what a container uses, once a second')
    .argument('<host>')
    .argument('<container>')
    .option('--no-stream', 'once only')
    .option('--no-resume', 'end when the host or the server is lost, in place of going on when it is back');
  act<StatsOptions, [string, string]>(stats, cli, printStats);
}

interface StatsOptions {
  stream: boolean;
  resume: boolean;
}

async function printStats(context: ActionContext<StatsOptions>, host: string, name: string): Promise<void> {
  const { io, options } = context;
  for await (const sample of samples(context, host, name)) {
    await write(io.stdout, options.json ? jsonLine(sample) : `${statsLine(sample)}\n`);
  }
}

/** The samples of a container, also over restarts of the server. */
async function* samples(
  { api, io, options }: ActionContext<StatsOptions>,
  host: string,
  name: string,
): AsyncGenerator<StatsSample> {
  const { stream, resume } = options;
  const open = () =>
    api.stream(path`/api/v1/hosts/${host}/containers/${name}/stats`, {
      accept: 'application/x-ndjson',
      query: { stream: stream ? undefined : 0, resume: resume ? undefined : 0 },
    });
  const comeback = new ServerComeback(io);
  let body = await open();
  const repeated = new RepeatedSamples();
  for (;;) {
    const since = performance.now();
    let failure: unknown;
    try {
      for await (const record of records(body)) {
        const sample = record as StatsSample;
        if (!repeated.isRepeated(sample)) yield sample;
      }
      return;
    } catch (error) {
      failure = error;
    }
    if (!stream || !resume) throw failure;
    body = await comeback.reopen(failure, performance.now() - since, open);
  }
}
