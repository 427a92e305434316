/** `stack`: what Compose files describe, on the hosts: deployed, looked at, changed, and taken back. */
import type { Command } from 'commander';
import { jsonLine, printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import type { ContainerSummary, StackDetail, StackRevision } from '../api-types.ts';
import { type ActionContext, act, type Cli, seconds, wholeNumber } from '../commander.ts';
import { CONTAINER_COLUMNS } from '../containers.ts';
import { parseEnv } from '../env-file.ts';
import { usageError } from '../errors.ts';
import { relative } from '../format.ts';
import { type CliIo, write } from '../io.ts';
import { records } from '../ndjson.ts';
import { printJson, printRows } from '../output.ts';
import { facts } from '../table.ts';
import { readText } from './files.ts';
import { addBulk, addList } from './stack-fleet.ts';
import { addStackLogs, printLog } from './stack-logs.ts';
import { addMigrate } from './stack-migrate.ts';

const NDJSON = 'application/x-ndjson';
/** From the request to the first line: the host may have to find its Compose, and to read the file. */
const BEGIN_MS = 150_000;
const MAX_STDIN_CHARS = 256 * 1024;

interface Common {
  timeout?: number;
}

export function addStack(root: Command, cli: Cli): void {
  const stack = root.command('stack').description('deploy Compose files to hosts, and act on what they describe');
  addDeploy(stack, cli);
  addList(stack, cli);
  for (const name of ['status', 'ps']) addStatus(stack, cli, name);
  addStackLogs(stack, cli);
  addChange(stack, cli, 'start', 'start what there is of a stack');
  addChange(stack, cli, 'stop', 'stop what runs of a stack');
  addChange(stack, cli, 'restart', 'restart a stack');
  addChange(stack, cli, 'pull', 'pull the images of a stack; what runs stays as it is');
  addScale(stack, cli);
  addBulk(stack, cli);
  addRemove(stack, cli);
  addMigrate(stack, cli);
  addHistory(stack, cli);
  addShow(stack, cli);
  addDiff(stack, cli);
  addRepeat(stack, cli, 'rollback', 'deploy an earlier revision again').argument(
    '<revision>',
    undefined,
    revisionNumber,
  );
  addRepeat(stack, cli, 'redeploy', 'deploy the current revision, or another one, again').argument(
    '[revision]',
    undefined,
    revisionNumber,
  );
}

const revisionNumber = wholeNumber(1);

function ofStack(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description).argument('<host>').argument('<stack>');
}

function withTimeout(command: Command): Command {
  return command.option('--timeout <time>', 'end it after this time, as in 90s or 10m (default: 30m)', seconds);
}

interface DeployOptions extends Common {
  file?: string;
  envFile?: string;
  env?: string[];
  pull?: boolean;
  prune?: boolean;
}

function withHow(command: Command): Command {
  return withTimeout(command)
    .option('--pull', 'pull all images first')
    .option('--prune', 'remove containers of services that are no longer in the file');
}

function addDeploy(stack: Command, cli: Cli): void {
  const deploy = withHow(ofStack(stack, 'deploy', 'deploy a Compose file as a new revision of a stack'))
    .requiredOption('-f, --file <file>', 'the Compose file; - for standard input')
    .option('--env-file <file>', 'what its variables stand for, a line NAME=VALUE for each')
    .addHelpText(
      'after',
      '\nThe file goes to the host alone: builds, env_file and paths beside it are refused. Variables of this shell are not ' +
        'taken: give --env-file. Ctrl-C ends the deployment on the host; it can be repeated.',
    );
  act<DeployOptions, [string, string]>(deploy, cli, async (context, host, name) => {
    const { io, options } = context;
    const { file = '', envFile, pull, prune, timeout } = options;
    const compose = file === '-' ? await readAll(io) : await readText(file, 'the Compose file');
    const env = envFile === undefined ? {} : parseEnv(await readText(envFile, 'the file of variables'), envFile);
    const body = { compose, env, pull, prune, timeoutSeconds: timeout };
    await change(context, 'PUT', pathOf(host, name), body);
  });
}

async function readAll(io: CliIo): Promise<string> {
  let text = '';
  for await (const chunk of io.stdin.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk;
    if (text.length > MAX_STDIN_CHARS) throw usageError('the Compose file on standard input is too large');
  }
  return text;
}

function pathOf(host: string, name: string): string {
  return path`/api/v1/hosts/${host}/stacks/${name}`;
}

/** Makes a change and prints what Compose says meanwhile; with `--json` the records as they come. */
async function change(
  { api, io, options }: ActionContext<object>,
  method: string,
  to: string,
  body?: object,
  query: Record<string, string | number | undefined> = {},
): Promise<void> {
  const asked = { accept: NDJSON, method, query, timeoutMs: BEGIN_MS };
  const answer = await api.stream(to, body === undefined ? asked : { ...asked, body });
  for await (const value of records(answer)) {
    if (options.json) {
      await write(io.stdout, jsonLine(value));
      continue;
    }
    const { progress, result } = value as {
      progress?: { step: string; line: string };
      result?: Partial<StackRevision>;
    };
    if (progress !== undefined) await write(io.stderr, `${printable(`${progress.step}: ${progress.line}`)}\n`);
    if (result?.revision !== undefined) await write(io.stdout, `revision ${result.revision} is ${result.state}\n`);
    else if (result !== undefined) await write(io.stdout, 'done\n');
  }
}

function addStatus(stack: Command, cli: Cli, name: string): void {
  const status = ofStack(stack, name, 'say what runs of a stack, and what was deployed');
  act<object, [string, string]>(status, cli, async ({ api, io, options }, host, stackName) => {
    const found = await api.get<StackDetail>(pathOf(host, stackName));
    if (options.json) return printJson(io, found);
    const { revision, latest, managed } = found;
    const lines = facts([
      ['stack', found.name],
      ['revision', managed ? describe(revision, io.now()) : 'not managed: it was deployed by others'],
      ['latest', latest === null ? undefined : describe(latest, io.now())],
      ['why', latest?.detail ?? undefined],
      [
        'services',
        found.services.map(({ service, running, containers }) => `${service} ${running}/${containers}`).join(', '),
      ],
    ]);
    await write(io.stdout, `${lines}\n`);
    await printRows<ContainerSummary>(io, options, found.items, CONTAINER_COLUMNS);
  });
}

function describe(revision: StackRevision | null, now: number): string | undefined {
  if (revision === null) return undefined;
  return `${revision.revision} ${revision.state}, by ${revision.createdBy} ${relative(revision.createdAt, now)}`;
}

function addChange(stack: Command, cli: Cli, verb: string, description: string): void {
  const command = withTimeout(ofStack(stack, verb, description));
  act<Common, [string, string]>(command, cli, async (context, host, name) => {
    await change(context, 'POST', `${pathOf(host, name)}/${verb}`, { timeoutSeconds: context.options.timeout });
  });
}

function addScale(stack: Command, cli: Cli): void {
  const scale = withTimeout(ofStack(stack, 'scale', 'let services have so many containers, until the next deployment'));
  scale.argument('<service=count...>');
  act<Common, [string, string, string[]]>(scale, cli, async (context, host, name, given) => {
    const services = Object.fromEntries(given.map(readScale));
    await change(context, 'POST', `${pathOf(host, name)}/scale`, { services, timeoutSeconds: context.options.timeout });
  });
}

function readScale(text: string): [string, number] {
  const [, service, count] = /^([^=]+)=(\d{1,4})$/.exec(text) ?? [];
  if (service === undefined) throw usageError(`'${text}' is no SERVICE=COUNT`);
  return [service, Number(count)];
}

function addRemove(stack: Command, cli: Cli): void {
  const rm = withTimeout(ofStack(stack, 'rm', 'remove a stack: its containers, its networks and its revisions')).option(
    '-v, --volumes',
    'its named volumes, too',
  );
  act<Common & { volumes?: boolean }, [string, string]>(rm, cli, async (context, host, name) => {
    const { volumes, timeout } = context.options;
    const query = { volumes: volumes ? 1 : undefined, timeoutSeconds: timeout };
    await change(context, 'DELETE', pathOf(host, name), undefined, query);
  });
}

function addHistory(stack: Command, cli: Cli): void {
  const history = ofStack(stack, 'history', 'list what was deployed as a stack, newest first');
  act<object, [string, string]>(history, cli, async ({ api, io, options }, host, name) => {
    const rows = await api.list<StackRevision>(`${pathOf(host, name)}/revisions`);
    await printRows(io, options, rows, [
      ['REVISION', ({ revision }) => revision],
      ['STATE', ({ state }) => state],
      ['WHAT', ({ action, source }) => (source === null ? action : `${action} of ${source}`)],
      ['BY', ({ createdBy }) => createdBy],
      ['WHEN', ({ createdAt }) => relative(createdAt, io.now())],
      ['VARIABLES', ({ env }) => env.join(',')],
      ['WHY', ({ code, detail }) => (code === null ? undefined : `${code}: ${detail}`)],
    ]);
  });
}

function addShow(stack: Command, cli: Cli): void {
  const show = ofStack(
    stack,
    'show',
    "print a revision's Compose file; the current one unless another is given",
  ).argument('[revision]', undefined, revisionNumber);
  act<object, [string, string, number | undefined]>(show, cli, async ({ api, io, options }, host, name, given) => {
    const number = given ?? (await api.get<StackDetail>(pathOf(host, name))).revision?.revision;
    if (number === undefined) throw usageError(`the stack ${name} has no current revision: name one of its history`);
    const found = await api.get<StackRevision & { compose: string }>(`${pathOf(host, name)}/revisions/${number}`);
    if (options.json) return printJson(io, found);
    return write(io.stdout, found.compose.endsWith('\n') ? found.compose : `${found.compose}\n`);
  });
}

function addDiff(stack: Command, cli: Cli): void {
  const diff = ofStack(stack, 'diff', 'say what changed from one revision to another')
    .argument('<from>', undefined, revisionNumber)
    .argument('<to>', undefined, revisionNumber);
  act<object, [string, string, number, number]>(diff, cli, async ({ api, io }, host, name, from, to) => {
    const body = await api.stream(`${pathOf(host, name)}/revisions/${from}/diff/${to}`, { accept: 'text/plain' });
    await printLog(body, io, false);
  });
}

function addRepeat(stack: Command, cli: Cli, action: string, description: string): Command {
  const command = withHow(ofStack(stack, action, description));
  act<DeployOptions, [string, string, number | undefined]>(command, cli, async (context, host, name, revision) => {
    const { pull, prune, timeout } = context.options;
    const body = { revision, pull, prune, timeoutSeconds: timeout };
    await change(context, 'POST', `${pathOf(host, name)}/${action}`, body);
  });
  return command;
}
