/** `top`, `host metrics` and `stats`: what hosts and their containers use. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import type { ContainerUseView, HostWithMetrics, MetricsAnswer, StatsAnswer } from '../api-types.ts';
import { type ActionContext, act, type Cli, collect } from '../commander.ts';
import { type CliIo, write } from '../io.ts';
import { CONTAINER_USE_COLUMNS, HISTORY_COLUMNS, HOST_USE_COLUMNS, withGaps } from '../metrics.ts';
import { print, printJson, printRows } from '../output.ts';
import { table } from '../table.ts';

const DEFAULT_WATCH_SECONDS = 5;
const MAX_WATCH_SECONDS = 3600;
/** Puts the cursor at the top and clears what is below. */
const CLEAR = '\x1b[H\x1b[J';

interface TopOptions {
  tag?: string[];
  watch?: number | true;
}

export function addTop(root: Command, cli: Cli): void {
  const top = root
    .command('top')
    .description('list what all hosts use now')
    .option('--tag <tag>', 'only hosts with this tag; may repeat', collect)
    .option('-w, --watch [seconds]', `again and again, every ${DEFAULT_WATCH_SECONDS} s unless given`, watchSeconds);
  act<TopOptions>(top, cli, async (context) => {
    const { watch } = context.options;
    if (watch === undefined) return await printTop(context);
    for (;;) {
      await printTop(context);
      await sleep((watch === true ? DEFAULT_WATCH_SECONDS : watch) * 1000);
    }
  });
}

function watchSeconds(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value >= 1 && value <= MAX_WATCH_SECONDS) return value;
  throw new InvalidArgumentError(`It must be from 1 to ${MAX_WATCH_SECONDS} seconds.`);
}

async function printTop({ api, io, options }: ActionContext<TopOptions>): Promise<void> {
  const hosts = await api.list<HostWithMetrics>('/api/v1/metrics/hosts', { query: { tag: options.tag } });
  if (options.json) return await printJson(io, hosts);
  // In one piece, so that a terminal does not flicker.
  const isScreen = options.watch !== undefined && io.stdout.isTTY === true;
  await write(io.stdout, `${isScreen ? CLEAR : ''}${table(hosts, HOST_USE_COLUMNS)}`);
}

interface HistoryOptions {
  from?: string;
  to?: string;
  step?: string;
}

/** @param host the command `host` */
export function addHostMetrics(host: Command, cli: Cli): void {
  const metrics = host
    .command('metrics')
    .description('print what a host used over a time')
    .argument('<host>', 'its name or id')
    .option('--from <time>', 'RFC 3339, Unix seconds, or how long ago, as -1h or -7d (default: -1h)')
    .option('--to <time>', 'likewise (default: now)')
    .option('--step <step>', 'a line for each 30s, 5m, 1h … (default: what makes at most 1,000 lines)')
    .addHelpText(
      'after',
      '\nFigures are averages; behind the slash is the most. Times without samples are shown as a gap.',
    );
  act<HistoryOptions, [string]>(metrics, cli, async ({ api, io, options }, ref) => {
    const { from, to, step } = options;
    const answer = await api.get<MetricsAnswer>(path`/api/v1/hosts/${ref}/metrics`, { query: { from, to, step } });
    await print(io, options, answer, ({ step, points }) => table(withGaps(points, step), HISTORY_COLUMNS));
  });
}

export function addStats(root: Command, cli: Cli): void {
  const stats = root
    .command('stats')
    .description("list what a host's containers use now")
    .argument('<host>', 'its name or id');
  act<object, [string]>(stats, cli, async ({ api, io, options }, ref) => {
    const answer = await api.get<StatsAnswer>(path`/api/v1/hosts/${ref}/stats`);
    await printRows(io, options, answer.items, CONTAINER_USE_COLUMNS);
    await printFailures(io, answer.items);
  });
}

/** What could not be asked is told on stderr. */
async function printFailures(io: CliIo, items: readonly ContainerUseView[]): Promise<void> {
  for (const { name, error } of items) {
    if (error === undefined) continue;
    await write(io.stderr, `fairlead: ${printable(`${name}: ${error.detail} (${error.code})`)}\n`);
  }
}
