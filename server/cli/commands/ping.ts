/** `host ping`: how far a host is, and what its link takes. */
import { type Command, InvalidArgumentError } from 'commander';
import { FairleadError } from '../../../shared/errors.ts';
import { printable } from '../../../shared/printable.ts';
import { type ApiClient, path } from '../api-client.ts';
import type { PingRecord, RoundTripSummary, ThroughputRecord } from '../api-types.ts';
import { type ActionContext, act, type Cli, wholeNumber } from '../commander.ts';
import { describeError } from '../errors.ts';
import { bitRate, millis } from '../format.ts';
import { write } from '../io.ts';
import { records } from '../ndjson.ts';
import { printJson } from '../output.ts';

const DEFAULT_COUNT = 5;
const MAX_COUNT = 1000;
const MIN_INTERVAL_SECONDS = 0.2;
const MAX_INTERVAL_SECONDS = 60;
/** What is no failure of a ping that nobody asked to test the throughput, too. */
const NO_TEST: ReadonlySet<string> = new Set(['FORBIDDEN', 'UNSUPPORTED', 'DENIED_BY_HOST', 'OVERLOADED']);

interface PingOptions {
  count: number;
  interval: number;
  throughput?: boolean;
}

export function addPing(host: Command, cli: Cli): void {
  const ping = host
    .command('ping')
    .description('measure the round trip to a host, idle and loaded, and what its link takes')
    .argument('<host>', 'its name or id')
    .option('-c, --count <count>', 'so many pings, 1 to 1000', wholeNumber(1, MAX_COUNT), DEFAULT_COUNT)
    .option('-i, --interval <seconds>', 'from one to the next, 0.2 to 60', interval, 1)
    .option('--throughput', 'fail if the throughput cannot be tested, which takes the role operator')
    .option('--no-throughput', 'the round trip only; else the link is filled for 2 s in each direction')
    .addHelpText('after', '\nThe exit code is 1 if no ping is answered.');
  act<PingOptions, [string]>(ping, cli, async (context, ref) => {
    const { pings, summary } = await pingHost(context, ref);
    const isReached = summary.received > 0;
    if (!isReached) cli.exitCode = 1;
    const tests = isReached ? await testHost(context, ref, summary) : [];
    if (context.options.json) await printJson(context.io, { pings, summary, throughput: tests });
  });
}

function interval(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value < MIN_INTERVAL_SECONDS || value > MAX_INTERVAL_SECONDS) {
    throw new InvalidArgumentError(`It must be from ${MIN_INTERVAL_SECONDS} to ${MAX_INTERVAL_SECONDS} seconds.`);
  }
  return value;
}

type Pings = { pings: { seq: number; roundTripMs: number | null }[]; summary: RoundTripSummary };

async function pingHost({ api, io, options }: ActionContext<PingOptions>, ref: string): Promise<Pings> {
  const body = { count: options.count, intervalMs: Math.round(options.interval * 1000) };
  const pings: Pings['pings'] = [];
  for await (const one of post<PingRecord>(api, path`/api/v1/hosts/${ref}/ping`, body)) {
    if (one.type === 'summary') {
      const { type: _, ...summary } = one;
      if (!options.json) await write(io.stdout, `${summaryText(summary)}\n`);
      return { pings, summary };
    }
    const { seq, roundTripMs } = one;
    pings.push({ seq, roundTripMs });
    const answer = roundTripMs === null ? 'no answer in time' : millis(roundTripMs);
    if (!options.json) await write(io.stdout, `ping ${seq}: ${answer}\n`);
  }
  throw new FairleadError('STREAM_INTERRUPTED', 'the answer ended before its summary');
}

/** The throughput of both directions; none if nobody insists and it cannot be tested. */
async function testHost(
  { api, io, options }: ActionContext<PingOptions>,
  ref: string,
  idle: RoundTripSummary,
): Promise<Omit<ThroughputRecord, 'type'>[]> {
  if (options.throughput === false) return [];
  const tests: Omit<ThroughputRecord, 'type'>[] = [];
  try {
    for await (const one of post<ThroughputRecord>(api, path`/api/v1/hosts/${ref}/throughput`, {})) {
      const { type: _, ...test } = one;
      tests.push(test);
      if (!options.json) await write(io.stdout, `${throughputText(one, idle)}\n`);
    }
  } catch (error) {
    const isMinor = error instanceof FairleadError && NO_TEST.has(error.code) && options.throughput !== true;
    if (!isMinor) throw error;
    await write(io.stderr, `fairlead: no throughput: ${printable(describeError(error))}\n`);
  }
  return tests;
}

async function* post<T>(api: ApiClient, url: string, body: object): AsyncGenerator<T> {
  const answer = await api.stream(url, { method: 'POST', accept: 'application/x-ndjson', body });
  for await (const record of records(answer)) yield record as T;
}

function summaryText({ sent, received, ...times }: RoundTripSummary): string {
  const lost = Math.round(((sent - received) / sent) * 100);
  const counts = `${sent} sent, ${received} answered, ${lost} % lost`;
  const { minMs, avgMs, p99Ms, maxMs } = times;
  if (minMs === null || avgMs === null || p99Ms === null || maxMs === null) return counts;
  return `${counts}; min ${millis(minMs)}, avg ${millis(avgMs)}, p99 ${millis(p99Ms)}, max ${millis(maxMs)}`;
}

function throughputText({ direction, bytesPerSecond, loaded }: ThroughputRecord, idle: RoundTripSummary): string {
  const where = direction === 'to-host' ? 'to the host:  ' : 'from the host:';
  const rate = bytesPerSecond === null ? 'too little came to tell' : bitRate(bytesPerSecond);
  const { avgMs, p99Ms } = loaded;
  const during = avgMs === null || p99Ms === null ? 'no ping answered' : `${millis(avgMs)} (p99 ${millis(p99Ms)})`;
  return `${where} ${rate}; round trip idle ${idle.avgMs === null ? '-' : millis(idle.avgMs)}, loaded ${during}`;
}
