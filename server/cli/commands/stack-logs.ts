/** `stack logs`: what all containers of a stack say, in the order of their times, or as it comes. */
import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { jsonLine } from '../../../shared/printable.ts';
import { type StackLogEntry, textOfLine } from '../../../shared/stacks/log-tail.ts';
import { path } from '../api-client.ts';
import type { StackLogRecord } from '../api-types.ts';
import { type ActionContext, act, type Cli, collect } from '../commander.ts';
import { brokenOff } from '../errors.ts';
import { tellingGaps } from '../follow-log.ts';
import { followStackLogs } from '../follow-stack-log.ts';
import { type CliIo, write } from '../io.ts';
import { addLogOptions, type LogOptions } from '../log-options.ts';
import { records } from '../ndjson.ts';
import { logRange } from '../time.ts';

const NDJSON = 'application/x-ndjson';

interface StackLogOptions extends LogOptions {
  service?: string[];
}

export function addStackLogs(stack: Command, cli: Cli): void {
  const logs = stack
    .command('logs')
    .description("print the logs of all of a stack's containers, in the order of their times")
    .argument('<host>')
    .argument('<stack>');
  addLogOptions(logs, {
    follow: 'go on with what comes, of containers that start later, too',
    tail: 'only the last lines of each container',
  });
  logs.option('-s, --service <name>', 'of this service only; may repeat', collect);
  act<StackLogOptions, [string, string]>(logs, cli, async (context, host, name) => {
    const { api, io, options } = context;
    const { follow, timestamps, service, resume } = options;
    const to = path`/api/v1/hosts/${host}/stacks/${name}/logs`;
    if (follow && resume) {
      for await (const text of await followLogs(context, to)) await write(io.stdout, text);
      return;
    }
    const body = await api.stream(to, {
      accept: options.json ? NDJSON : 'text/plain',
      query: {
        ...{ ...logRange(options, io.now()), service },
        follow: follow ? 1 : undefined,
        timestamps: timestamps ? 1 : undefined,
        resume: resume ? undefined : 0,
      },
    });
    await printLog(body, io, options.json === true);
  });
}

/** Prints text as it comes, or records. */
export async function printLog(body: IncomingMessage, io: CliIo, json: boolean): Promise<void> {
  if (json) {
    for await (const value of records(body)) await write(io.stdout, jsonLine(value as StackLogRecord));
    return;
  }
  try {
    await pipeline(body, io.stdout, { end: false });
  } catch (error) {
    throw brokenOff(error);
  }
}

async function followLogs(
  { api, io, options }: ActionContext<StackLogOptions>,
  to: string,
): Promise<AsyncIterable<string | Buffer>> {
  const { json = false, timestamps = false, service } = options;
  const batches = await followStackLogs({ api, io, path: to, ask: logRange(options, io.now()), query: { service } });
  const gaps: string[] = [];
  return tellingGaps(textsOf(batches, { json, timestamps }, gaps), gaps, io);
}

async function* textsOf(
  batches: AsyncIterable<readonly StackLogEntry[]>,
  { json, timestamps }: { json: boolean; timestamps: boolean },
  gaps: string[],
): AsyncGenerator<string> {
  const textOf = (entry: StackLogEntry) => {
    if ('gap' in entry) gaps.push(`${entry.gap.container}: ${entry.gap.detail}`);
    if (json) return `${JSON.stringify(entry)}\n`;
    return 'gap' in entry ? '' : textOfLine(entry, timestamps);
  };
  for await (const entries of batches) yield entries.map(textOf).join('');
}
