/** `bulk`: one action on many containers of many hosts, with a summary. */
import type { Command } from 'commander';
import type { ApiClient } from '../api-client.ts';
import type { BulkContainer, BulkPlan, BulkRecord, BulkSummary } from '../api-types.ts';
import { type ActionContext, act, type Cli, collect, wholeNumber } from '../commander.ts';
import { confirm } from '../confirm.ts';
import { type SelectOptions, selecting, selection } from '../container-select.ts';
import { CliError, usageError } from '../errors.ts';
import { type CliIo, write } from '../io.ts';
import { records } from '../ndjson.ts';
import { type Column, printable, table } from '../table.ts';

const VERBS = ['start', 'stop', 'restart', 'pause', 'unpause', 'kill', 'remove'];
/** From the question to the plan: all hosts are looked at before. */
const PLAN_MS = 120_000;

interface BulkOptions extends SelectOptions {
  host?: string[];
  all?: boolean;
  time?: number;
  signal?: string;
  force?: boolean;
  volumes?: boolean;
  dryRun?: boolean;
  yes?: boolean;
  concurrency?: number;
  maxFailures?: number;
}

export function addBulk(root: Command, cli: Cli): void {
  const bulk = root
    .command('bulk')
    .description('do one thing to many containers of many hosts')
    .argument('<action>', VERBS.join(', '))
    .option('--host <host>', 'of this host; may repeat', collect)
    .option('--all', 'all of them, where nothing else says which')
    .option('-t, --time <seconds>', 'stop, restart: before it is killed', wholeNumber(-1))
    .option('-s, --signal <name>', 'kill: with this signal')
    .option('-f, --force', 'remove: running ones, too')
    .option('-v, --volumes', 'remove: their anonymous volumes, too')
    .option('--dry-run', 'say what would be touched, and touch nothing')
    .option('-y, --yes', 'do not ask')
    .option('--concurrency <count>', 'so many at once (default: 8)', wholeNumber(1))
    .option('--max-failures <count>', 'skip the others after so many', wholeNumber(1))
    .addHelpText(
      'after',
      '\nWithout --state those are meant that the action is for: stop and restart the running, start and remove the\n' +
        'stopped. Exits with 1 if one failed or a host did not answer.\n\nExample: fairlead bulk restart --tag edge --name web',
    );
  act<BulkOptions, [string]>(selecting(bulk), cli, async (context, action) => {
    if (!VERBS.includes(action)) throw usageError(`there is no action ${action}: say ${VERBS.join(', ')}`);
    if (!(await runBulk(context, action))) cli.exitCode = 1;
  });
}

/** @returns whether all was well */
async function runBulk({ api, io, options }: ActionContext<BulkOptions>, action: string): Promise<boolean> {
  const body = bodyOf(action, options);
  if (options.dryRun !== true && options.yes !== true) {
    const { matched, hosts } = await planned(api, { ...body, dryRun: true });
    if (matched > 0) await confirm(io, `This will ${action} ${matched} containers on ${hosts} hosts.`, false);
  }
  const outcome = new Outcome(io, options.json === true);
  for await (const record of ask(api, body)) await outcome.take(record);
  return await outcome.end();
}

function bodyOf(action: string, options: BulkOptions): Record<string, unknown> {
  const { host, all, time, signal, force, volumes, dryRun, concurrency, maxFailures } = options;
  const select = { ...selection(options), ...(host === undefined ? {} : { host }) };
  const isEmpty = Object.keys(select).length === 0;
  if (isEmpty && !all)
    throw usageError('say which: --tag, --host, --name, --image, --state or --label, or --all of them');
  const given = { timeoutSeconds: time, signal, force, volumes, dryRun, concurrency, maxFailures };
  return { action, select: isEmpty ? { all: true } : select, ...given };
}

async function* ask(api: ApiClient, body: Record<string, unknown>): AsyncGenerator<BulkRecord> {
  const path = '/api/v1/containers/actions';
  const answer = await api.stream(path, {
    ...{ method: 'POST', accept: 'application/x-ndjson', body, timeoutMs: PLAN_MS },
    key: crypto.randomUUID(),
  });
  for await (const record of records(answer)) yield record as BulkRecord;
}

async function planned(api: ApiClient, body: Record<string, unknown>): Promise<BulkPlan> {
  let plan: BulkPlan | undefined;
  for await (const record of ask(api, body)) if (record.type === 'plan') plan = record;
  if (plan === undefined) throw new CliError('the answer has no plan');
  return plan;
}

/** What one host's containers came to. */
interface HostRow {
  readonly host: string;
  ok: number;
  failed: number;
  skipped: number;
  planned: number;
}

/** Tells the progress as it comes, and the sum at the end. */
class Outcome {
  readonly #io: CliIo;
  readonly #json: boolean;
  readonly #rows = new Map<string, HostRow>();
  #isDryRun = false;
  #summary: BulkSummary | undefined;

  constructor(io: CliIo, json: boolean) {
    this.#io = io;
    this.#json = json;
  }

  async take(record: BulkRecord): Promise<void> {
    const { stdout, stderr } = this.#io;
    if (record.type === 'summary') this.#summary = record;
    if (this.#json) return await write(stdout, `${JSON.stringify(record)}\n`);
    if (record.type === 'plan') {
      this.#isDryRun = record.dryRun;
      for (const { host, code, detail } of record.unreachable) {
        await write(stderr, `fairlead: ${printable(`${host}: ${detail} (${code})`)}\n`);
      }
    }
    if (record.type === 'container') await this.#container(record);
  }

  /** @returns whether all was well */
  async end(): Promise<boolean> {
    const summary = this.#summary;
    if (summary === undefined) throw new CliError('the answer ended before its summary');
    if (!this.#json) await write(this.#io.stdout, this.#text(summary));
    return summary.failed === 0 && summary.unreachable === 0;
  }

  async #container({ host, container, result, code, detail }: BulkContainer): Promise<void> {
    const row = this.#rows.get(host) ?? { host, ok: 0, failed: 0, skipped: 0, planned: 0 };
    row[result] += 1;
    this.#rows.set(host, row);
    const name = printable(`${host}/${container}`);
    if (result === 'failed') {
      await write(this.#io.stderr, `fairlead: ${name}: ${printable(`${detail} (${code})`)}\n`);
    } else if (result !== 'skipped') {
      await write(this.#io.stdout, `${name}\n`);
    }
  }

  #text({ matched, ok, failed, skipped, unreachable }: BulkSummary): string {
    const away = unreachable === 0 ? '' : `; ${unreachable} hosts did not answer`;
    if (this.#isDryRun) return `${matched} would be touched${away}.\n`;
    const columns: Column<HostRow>[] = [
      ['HOST', (row) => row.host],
      ['OK', (row) => row.ok],
      ['FAILED', (row) => row.failed],
      ['SKIPPED', (row) => row.skipped],
    ];
    const rows = [...this.#rows.values()].sort((a, b) => a.host.localeCompare(b.host));
    const sum = `${matched} matched: ${ok} ok, ${failed} failed, ${skipped} skipped${away}.\n`;
    return rows.length === 0 ? sum : `\n${table(rows, columns)}${sum}`;
  }
}
