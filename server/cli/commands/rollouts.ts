/** `rollout`: a release of the agent brought to many hosts, stage after stage. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { FairleadError } from '../../../shared/errors.ts';
import { UnreachableError } from '../../../shared/pinned-http.ts';
import { jsonLine, printable } from '../../../shared/printable.ts';
import { type ApiClient, path } from '../api-client.ts';
import type { RolloutHostView, RolloutView } from '../api-types.ts';
import { ServerComeback } from '../comeback.ts';
import { type ActionContext, act, type Cli, collect, seconds, wholeNumber } from '../commander.ts';
import { describeError, usageError } from '../errors.ts';
import { relative, shortId } from '../format.ts';
import { type CliIo, write } from '../io.ts';
import { print, printJson, printRows } from '../output.ts';
import { failures, type Stage, stages, stageText } from '../stages.ts';
import { type Column, facts, table } from '../table.ts';

const ROLLOUTS = '/api/v1/rollouts';
const WATCH_SECONDS = 2;
/** Hosts of each sort that `show` lists. */
const SHOWN_HOSTS = 20;

export function addRollout(root: Command, cli: Cli): void {
  const rollout = root.command('rollout').description('bring a release of the agent to many hosts, stage after stage');
  addStart(rollout, cli);
  addList(rollout, cli);
  addShow(rollout, cli);
  addCommand(rollout, cli, 'pause', 'ask no host any more, until it is resumed; those under way reach their end');
  addCommand(rollout, cli, 'resume', 'go on with what is planned, paused or halted, or with the next stage at once');
  addCommand(rollout, cli, 'abort', 'end it; hosts that are under way reach their end');
}

interface Watching {
  watch?: number | true;
}

interface StartOptions extends Watching {
  all?: true;
  tag?: string[];
  host?: string[];
  release?: string;
  sequence?: number;
  stages?: Stage[];
  pause?: number;
  confirm?: true;
  maxFailures?: number | string;
  parallel?: number;
  hostTimeout?: number;
  waitOffline?: number;
  plan?: true;
}

function addStart(rollout: Command, cli: Cli): void {
  const start = watching(
    rollout.command('start').description('begin one, with the newest release unless said otherwise'),
  )
    .option('--all', 'all hosts')
    .option('--tag <tag>', 'hosts with all of these tags; repeatable', collect)
    .option('--host <host>', 'these hosts alone; repeatable', collect)
    .option('--release <version>', 'this version of the agent')
    .option('--sequence <number>', 'the release with this sequence', wholeNumber(1))
    .option('--stages <list>', 'as 1,10%,50%,100% (unless given) or tag:lab,100%', stages)
    .option('--pause <duration>', 'between stages, 5m unless given; 0 for none', durationOrNone)
    .option('--confirm', 'pause after each stage until it is resumed')
    .option('--max-failures <count>', 'halt when more hosts fail, a number or 5%; 0 unless given', failures)
    .option('--parallel <count>', 'so many hosts at once, 10 unless given', wholeNumber(1, 256))
    .option('--host-timeout <duration>', 'a host that is not back by then has failed; 30m unless given', seconds)
    .option(
      '--wait-offline <duration>',
      'how long hosts that are offline are waited for; 7d unless given',
      durationOrNone,
    )
    .option('--plan', 'only plan it: `rollout resume` begins it')
    .addHelpText('after', '\nCtrl-C leaves a rollout going on: `fairlead rollout pause` or `abort` stops it.');
  act<StartOptions>(start, cli, async (context) => {
    const { api, io, options } = context;
    const made = await api.post<RolloutView>(ROLLOUTS, bodyOf(options));
    if (options.watch !== undefined) cli.exitCode = await follow(context, made.id);
    else await print(io, options, made, ({ id }) => `${id}\n`);
  });
}

function bodyOf(options: StartOptions) {
  const { all, tag: tags, host: hosts, release: version, sequence, stages: wanted, pause, confirm } = options;
  if (all === undefined && tags === undefined && hosts === undefined) {
    throw usageError('say which hosts: --tag, --host, or --all of them');
  }
  const { maxFailures, parallel, hostTimeout, waitOffline, plan } = options;
  return {
    ...{ version, sequence, select: { all, tags, hosts }, stages: wanted, pauseSeconds: pause, confirm },
    ...{ maxFailures, parallel, hostTimeoutSeconds: hostTimeout, waitSeconds: waitOffline },
    ...(plan === undefined ? {} : { start: false }),
  };
}

function durationOrNone(text: string): number {
  return text === '0' ? 0 : seconds(text);
}

function watching(command: Command): Command {
  return command.option(
    '-w, --watch [seconds]',
    'follow it until it is over or halted, and exit with 1 if not all went well',
    wholeNumber(1),
  );
}

const COLUMNS: readonly Column<RolloutView>[] = [
  ['ID', ({ id }) => shortId(id)],
  ['VERSION', ({ version }) => version],
  ['STATE', stateOf],
  ['STAGE', ({ stage, stages: all, endedAt }) => (endedAt === null ? `${stage} of ${all.length}` : undefined)],
  ['HOSTS', ({ figures }) => figures.hosts],
  ['DONE', ({ figures }) => figures.done],
  ['FAILED', ({ figures }) => figures.failed],
];

function addList(rollout: Command, cli: Cli): void {
  const ls = rollout
    .command('ls')
    .description('list them, newest first')
    .option('--limit <count>', 'so many', wholeNumber(1), 20);
  act<{ limit: number }>(ls, cli, async ({ api, io, options }) => {
    const begun: Column<RolloutView> = ['MADE', ({ createdAt }) => relative(createdAt, io.now())];
    const rows = await api.list<RolloutView>(ROLLOUTS, { limit: options.limit });
    await printRows(io, options, rows, [...COLUMNS, begun]);
  });
}

function addShow(rollout: Command, cli: Cli): void {
  const show = watching(
    rollout.command('show').description('show one, and its hosts that are under way or have failed'),
  )
    .argument('<id>', 'or its beginning')
    .option('--hosts', 'show all of its hosts');
  act<Watching & { hosts?: true }, [string]>(show, cli, async (context, prefix) => {
    const { api, io, options } = context;
    const found = await find(api, prefix);
    if (options.watch !== undefined) {
      cli.exitCode = await follow(context, found.id);
    } else if (options.hosts) {
      await printRows(io, options, await api.list<RolloutHostView>(hostsPath(found.id)), HOST_COLUMNS);
    } else if (options.json) {
      await printJson(io, found);
    } else {
      await write(io.stdout, text(found, io.now()));
      const hosts = await notable(api, found.id);
      if (hosts.length > 0) await write(io.stdout, `\n${table(hosts, HOST_COLUMNS)}`);
    }
  });
}

function addCommand(rollout: Command, cli: Cli, verb: 'pause' | 'resume' | 'abort', description: string): void {
  const command = rollout.command(verb).description(description).argument('<id>', 'or its beginning');
  act<object, [string]>(command, cli, async ({ api, io, options }, prefix) => {
    const { id } = await find(api, prefix);
    const after = await api.post<RolloutView>(path`/api/v1/rollouts/${id}/${verb}`);
    await print(io, options, after, (one) => `${shortId(id)} is ${stateOf(one)}: ${counts(one)}\n`);
  });
}

/** The rollout whose id begins with `prefix`. */
async function find(api: ApiClient, prefix: string): Promise<RolloutView> {
  if (prefix.length === 36) return await api.get<RolloutView>(path`/api/v1/rollouts/${prefix}`);
  const all = await api.list<RolloutView>(ROLLOUTS);
  const [found, ...others] = all.filter(({ id }) => id.startsWith(prefix));
  if (found !== undefined && others.length === 0) return found;
  const why = found === undefined ? 'there is no rollout' : 'several rollouts have ids that begin with';
  throw new FairleadError('NOT_FOUND', `${why} ${prefix}`);
}

function hostsPath(id: string): string {
  return path`/api/v1/rollouts/${id}/hosts`;
}

const HOST_COLUMNS: readonly Column<RolloutHostView>[] = [
  ['HOST', ({ host }) => host],
  ['STAGE', ({ stage }) => stage ?? undefined],
  ['STATE', ({ state }) => state],
  ['WHY', ({ detail, code }) => detail ?? code ?? undefined],
];

/** Hosts that somebody may want to look at. */
async function notable(api: ApiClient, id: string): Promise<RolloutHostView[]> {
  const found: RolloutHostView[] = [];
  for (const state of ['asked', 'failed', 'skipped']) {
    found.push(...(await api.list<RolloutHostView>(hostsPath(id), { query: { state }, limit: SHOWN_HOSTS })));
  }
  return found;
}

/** Shows how it goes on until its end. @returns the exit code */
async function follow({ api, io, options }: ActionContext<Watching>, id: string): Promise<number> {
  const everySeconds = typeof options.watch === 'number' ? options.watch : WATCH_SECONDS;
  let shown = '';
  for (;;) {
    const now = await look(api, io, id);
    const line = `${stateOf(now)}, stage ${now.stage} of ${now.stages.length}: ${counts(now)}${why(now)}`;
    if (line !== shown && options.json) await write(io.stdout, jsonLine(now));
    else if (line !== shown) await write(io.stdout, `${printable(line)}\n`);
    shown = line;
    if (isOver(now)) return now.state === 'done' && now.figures.failed === 0 ? 0 : 1;
    await sleep(everySeconds * 1000);
  }
}

/** A halted one does not go on by itself. */
function isOver({ state, endedAt, figures }: RolloutView): boolean {
  return endedAt !== null || (state === 'halted' && figures.asked === 0);
}

/** How far it is; a server that is away for a while is waited for, as the rollout does. */
async function look(api: ApiClient, io: CliIo, id: string): Promise<RolloutView> {
  const ask = () => api.get<RolloutView>(path`/api/v1/rollouts/${id}`);
  try {
    return await ask();
  } catch (error) {
    const isAway = error instanceof UnreachableError && error.failure !== 'tls';
    const detail = `${describeError(error)}; the rollout goes on: fairlead rollout show ${shortId(id)}`;
    const lost = isAway ? new FairleadError('STREAM_INTERRUPTED', detail, { cause: error }) : error;
    return await new ServerComeback(io).reopen(lost, 0, ask);
  }
}

function text(one: RolloutView, now: number): string {
  const rows = one.stages.map((stage, index) => ({ ...stage, number: index + 1 }));
  const about = facts([
    ['Id', one.id],
    ['Release', `${one.version} (${one.sequence})`],
    ['State', stateOf(one)],
    ['Why', one.reason ?? undefined],
    ['Hosts', counts(one)],
    ['Next stage', one.stageAt === null ? undefined : relative(one.stageAt, now)],
    ['By', one.createdBy],
    ['Made', relative(one.createdAt, now)],
    ['Ended', relative(one.endedAt, now)],
  ]);
  const stagesTable = table(rows, [
    ['STAGE', ({ number }) => number],
    ['HOSTS', ({ hosts }) => stageText(hosts)],
    ...FIGURES.map((name): Column<(typeof rows)[number]> => [name.toUpperCase(), ({ figures }) => figures[name]]),
  ]);
  return `${about}\n${stagesTable}`;
}

const FIGURES = ['pending', 'waiting', 'asked', 'done', 'failed', 'skipped', 'cancelled'] as const;

function counts({ figures }: RolloutView): string {
  const parts = FIGURES.filter((name) => figures[name] > 0).map((name) => `${figures[name]} ${name}`);
  return `${parts.join(', ')} of ${figures.hosts}`;
}

function stateOf({ state, endedAt }: RolloutView): string {
  return state === 'aborted' && endedAt === null ? 'aborted, some under way' : state;
}

function why({ reason }: RolloutView): string {
  return reason === null ? '' : ` (${reason})`;
}
