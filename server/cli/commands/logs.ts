/** `logs`: a container's output, byte for byte as it wrote it, or line by line with both streams kept apart. */
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { jsonLine } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import type { LogRecord } from '../api-types.ts';
import { type ActionContext, act, type Cli } from '../commander.ts';
import { brokenOff, usageError } from '../errors.ts';
import { followLog } from '../follow-log.ts';
import { type CliIo, write } from '../io.ts';
import { addLogOptions, type LogOptions } from '../log-options.ts';
import { records } from '../ndjson.ts';
import { logRange } from '../time.ts';

interface ContainerLogOptions extends LogOptions {
  stdout: boolean;
  stderr: boolean;
  separate?: boolean;
}

export function addLogs(root: Command, cli: Cli): void {
  const logs = root.command('logs').description("print a container's log").argument('<host>').argument('<container>');
  addLogOptions(logs, { follow: 'go on with what comes', tail: 'only the last lines' })
    .option('--no-stdout', "leave the container's standard output out")
    .option('--no-stderr', "leave the container's standard error out")
    .option('--separate', "the container's standard error to standard error, line by line")
    .addHelpText(
      'after',
      '\nWithout --separate all of the log goes to standard output, in the order and with exactly the bytes Docker has.',
    );
  act<ContainerLogOptions, [string, string]>(logs, cli, printLogs);
}

async function printLogs(context: ActionContext<ContainerLogOptions>, host: string, container: string): Promise<void> {
  const { api, io, options } = context;
  if (!options.stdout && !options.stderr) throw usageError('--no-stdout and --no-stderr together leave nothing');
  const byRecord = options.separate === true || options.json === true;
  const chunks = options.follow && options.resume ? await follow(context, host, container) : undefined;
  if (chunks !== undefined && byRecord) return printRecords(chunks, io, options.json === true);
  if (chunks !== undefined) {
    for await (const chunk of chunks) await write(io.stdout, chunk);
    return;
  }
  const body = await api.stream(path`/api/v1/hosts/${host}/containers/${container}/logs`, {
    accept: byRecord ? 'application/x-ndjson' : 'text/plain',
    query: {
      ...logRange(options, io.now()),
      ...streamsOf(options),
      follow: options.follow ? 1 : undefined,
      timestamps: options.timestamps ? 1 : undefined,
      resume: options.resume ? undefined : 0,
    },
  });
  if (byRecord) return printRecords(body, io, options.json === true);
  try {
    await pipeline(body, io.stdout, { end: false });
  } catch (error) {
    throw brokenOff(error);
  }
}

async function follow(
  { api, io, options }: ActionContext<ContainerLogOptions>,
  host: string,
  container: string,
): Promise<AsyncIterable<Buffer>> {
  const byRecord = options.separate === true || options.json === true;
  return asBytes(
    await followLog({
      ...{ api, io, host },
      ask: { id: container, ...logRange(options, io.now()) },
      query: streamsOf(options),
      form: byRecord ? 'ndjson' : 'bytes',
      timestamps: options.timestamps === true,
    }),
  );
}

async function* asBytes(chunks: AsyncIterable<Buffer | string>): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
}

function streamsOf({ stdout, stderr }: ContainerLogOptions): { stdout?: 0; stderr?: 0 } {
  return { ...(stdout ? {} : { stdout: 0 }), ...(stderr ? {} : { stderr: 0 }) };
}

async function printRecords(body: AsyncIterable<Uint8Array>, io: CliIo, json: boolean): Promise<void> {
  // A very long line comes in pieces, which are put together again: the next piece has neither a time nor a new line.
  const unfinished = new Set<string>();
  for await (const value of records(body)) {
    if (json) {
      await write(io.stdout, jsonLine(value));
      continue;
    }
    const { stream, time, line, partial } = value as LogRecord;
    // What is no line tells of a gap, which is told on stderr.
    if (line === undefined) continue;
    const before = time === undefined || unfinished.has(stream) ? '' : `${time} `;
    if (partial) unfinished.add(stream);
    else unfinished.delete(stream);
    await write(stream === 'stderr' ? io.stderr : io.stdout, `${before}${line}${partial ? '' : '\n'}`);
  }
}
