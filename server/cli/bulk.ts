/** Bulk actions: what each of them takes, asked for, and told as they go on. */
import type { Command } from 'commander';
import { count } from '../../shared/doctor/check.ts';
import { jsonLine, printable } from '../../shared/printable.ts';
import type { ApiClient } from './api-client.ts';
import type { BulkPlan, BulkRecord, BulkSummary, BulkTarget } from './api-types.ts';
import { type ActionContext, collect, wholeNumber } from './commander.ts';
import { confirm } from './confirm.ts';
import { CliError } from './errors.ts';
import { type CliIo, write } from './io.ts';
import { records } from './ndjson.ts';
import { tellUnreachable } from './output.ts';
import { type Column, table } from './table.ts';

/** From the question to the plan: all hosts are looked at before. */
const PLAN_MS = 120_000;

/** How it is gone about. */
export interface BulkHow {
  host?: string[];
  all?: boolean;
  dryRun?: boolean;
  yes?: boolean;
  concurrency?: number;
  maxFailures?: number;
}

/** What is asked for. */
export type BulkBody = Record<string, unknown> & { readonly action: string };

/** Adds those options to a command. */
export function bulkOptions(command: Command): Command {
  return command
    .option('--host <host>', 'of this host; may repeat', collect)
    .option('--all', 'all of them, where nothing else says which')
    .option('--dry-run', 'say what would be touched, and touch nothing')
    .option('-y, --yes', 'do not ask')
    .option('--concurrency <count>', 'so many at once (default: 8)', wholeNumber(1))
    .option('--max-failures <count>', 'skip the others after so many', wholeNumber(1));
}

/** What was given of them. @returns undefined if nothing says which are meant */
export function bulkBody(
  action: string,
  { host, all, dryRun, concurrency, maxFailures }: BulkHow,
  narrowed: Record<string, string[]>,
): BulkBody | undefined {
  const select = { ...narrowed, ...(host === undefined ? {} : { host }) };
  const isEmpty = Object.keys(select).length === 0;
  if (isEmpty && !all) return undefined;
  return { action, select: isEmpty ? { all: true } : select, dryRun, concurrency, maxFailures };
}

/**
 * Asks before it touches anything, and tells each target and the sum. @param what one target is called
 * @returns whether all was well
 */
export async function runBulk(
  { api, io, options }: ActionContext<BulkHow>,
  to: string,
  body: BulkBody,
  what: string,
): Promise<boolean> {
  if (options.dryRun !== true && options.yes !== true) {
    const { matched, hosts } = await planned(api, to, { ...body, dryRun: true });
    if (matched > 0) {
      const warning = `This will ${body.action} ${count(matched, what)} on ${count(hosts, 'host')}.`;
      await confirm(io, warning, false, '--yes');
    }
  }
  const outcome = new Outcome(io, options.json === true);
  for await (const record of ask(api, to, body)) await outcome.take(record);
  return await outcome.end();
}

async function* ask(api: ApiClient, to: string, body: BulkBody): AsyncGenerator<BulkRecord> {
  const answer = await api.stream(to, {
    ...{ method: 'POST', accept: 'application/x-ndjson', body, timeoutMs: PLAN_MS },
    key: crypto.randomUUID(),
  });
  for await (const record of records(answer)) yield record as BulkRecord;
}

async function planned(api: ApiClient, to: string, body: BulkBody): Promise<BulkPlan> {
  let plan: BulkPlan | undefined;
  for await (const record of ask(api, to, body)) if (record.type === 'plan') plan = record;
  if (plan === undefined) throw new CliError('the answer has no plan');
  return plan;
}

/** What the targets on one host came to. */
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
    if (record.type === 'summary') this.#summary = record;
    if (this.#json) return await write(this.#io.stdout, jsonLine(record));
    if (record.type === 'plan') {
      this.#isDryRun = record.dryRun;
      await tellUnreachable(this.#io, record.unreachable);
    }
    if (record.type === 'container') await this.#target(record, record.container);
    if (record.type === 'stack') await this.#target(record, record.stack);
  }

  /** @returns whether all was well */
  async end(): Promise<boolean> {
    const summary = this.#summary;
    if (summary === undefined) throw new CliError('the answer ended before its summary');
    if (!this.#json) await write(this.#io.stdout, this.#text(summary));
    return summary.failed === 0 && summary.unreachable === 0;
  }

  async #target({ host, result, code, detail }: BulkTarget, what: string): Promise<void> {
    const row = this.#rows.get(host) ?? { host, ok: 0, failed: 0, skipped: 0, planned: 0 };
    row[result] += 1;
    this.#rows.set(host, row);
    const name = printable(`${host}/${what}`);
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
