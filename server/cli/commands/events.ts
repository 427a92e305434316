/** `events`: what happens on hosts and to them, as it happens or of before. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { Backoff } from '../../../shared/backoff.ts';
import { FairleadError } from '../../../shared/errors.ts';
import { printable } from '../../../shared/printable.ts';
import type { EventView } from '../api-types.ts';
import { type ActionContext, act, type Cli, collect, wholeNumber } from '../commander.ts';
import { brokenOff, CliError, describeError } from '../errors.ts';
import { shortId } from '../format.ts';
import { write } from '../io.ts';
import { printJson } from '../output.ts';
import { serverSentEvents } from '../sse.ts';
import { instant } from '../time.ts';

const EVENTS = '/api/v1/events';
const PAST_EVENTS = 50;
/** A server that says nothing for so long is gone: it sends a comment every 15 s. */
const SILENT_MS = 45_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 30_000;
/** What coming back does not cure. */
const FINAL: ReadonlySet<string> = new Set([
  'UNAUTHORIZED',
  'TOKEN_INVALID',
  'FORBIDDEN',
  'HOST_NOT_FOUND',
  'VALIDATION',
  'NOT_FOUND',
]);
/** What is shown of an event's attributes; the others are mostly labels. */
const SHOWN: ReadonlySet<string> = new Set([
  ...['image', 'exitCode', 'signal', 'container', 'driver', 'destination', 'oldName', 'execID'],
  ...['reason', 'code', 'serial', 'dropped', 'from', 'to', 'agentVersion', 'docker', 'version', 'tags'],
]);

interface EventOptions {
  host?: string[];
  tag?: string[];
  type?: string[];
  since?: string;
  follow: boolean;
  limit?: number;
}

export function addEvents(root: Command, cli: Cli): void {
  const events = root
    .command('events')
    .description('print what happens on hosts and to them')
    .option('--host <host>', 'only of this host; may repeat', collect)
    .option('--tag <tag>', 'only of hosts with this tag; may repeat', collect)
    .option(
      '--type <type>',
      'only container.start, container (all of its family) or container.exec*; may repeat',
      collect,
    )
    .option('--since <time>', 'first those from this time on (RFC 3339 or Unix seconds), or this long ago (10m, 1d)')
    .option('-f, --follow', 'go on with what comes (the default)', true)
    .option('--no-follow', 'only what has been')
    .option(
      '--limit <count>',
      `with --no-follow: the last ones (default: ${PAST_EVENTS}, or all since --since)`,
      wholeNumber(1),
    )
    .addHelpText('after', '\nA connection that is lost is made anew, and goes on where it was.');
  act<EventOptions>(events, cli, async (context) => {
    if (context.options.follow) await follow(context);
    else await printPast(context);
  });
}

async function printPast({ api, io, options }: ActionContext<EventOptions>): Promise<void> {
  const { since, limit = since === undefined ? PAST_EVENTS : undefined } = options;
  const query = queryOf(options, io.now());
  const events = await api.list<EventView>(EVENTS, { query, ...(limit === undefined ? {} : { limit }) });
  events.reverse();
  if (options.json) return await printJson(io, events);
  for (const event of events) await write(io.stdout, lineOf(event));
}

function queryOf({ host, tag, type, since }: EventOptions, now: number) {
  return { host, tag, type, since: since === undefined ? undefined : instant(since, now) };
}

/** Ends by failure alone: one that coming back does not cure, or the first one. */
async function follow(context: ActionContext<EventOptions>): Promise<void> {
  const { api, io, options } = context;
  const query = queryOf(options, io.now());
  const backoff = new Backoff({ minMs: RETRY_MIN_MS, maxMs: RETRY_MAX_MS, random: Math.random });
  let after: string | undefined;
  const take = async (body: IncomingMessage) => {
    for await (const { id, data } of serverSentEvents(watched(body))) {
      backoff.reset();
      if (data !== undefined) await show(context, data);
      // Once it is printed: what is asked for anew is what was not.
      after = id ?? after;
    }
    throw new FairleadError('STREAM_INTERRUPTED', 'the server ended the answer');
  };
  for (let isFirst = true; ; isFirst = false) {
    try {
      const body = await api.stream(EVENTS, { accept: 'text/event-stream', query: { ...query, after } });
      if (!isFirst) await write(io.stderr, 'fairlead: connected again\n');
      await take(body);
    } catch (error) {
      const failure = brokenOff(error);
      if (failure instanceof CliError || !(failure instanceof FairleadError) || FINAL.has(failure.code)) throw failure;
      if (isFirst && after === undefined) throw failure;
      await write(io.stderr, `fairlead: ${printable(describeError(failure))}; coming back\n`);
      await delay(backoff.next());
    }
  }
}

/** The body, which fails once nothing has come for too long. */
async function* watched(body: IncomingMessage): AsyncGenerator<Buffer> {
  const dead = () => body.destroy(new FairleadError('TIMEOUT', 'the server has gone silent'));
  let timer = setTimeout(dead, SILENT_MS);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      clearTimeout(timer);
      yield chunk;
      timer = setTimeout(dead, SILENT_MS);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function show({ io, options }: ActionContext<EventOptions>, data: string): Promise<void> {
  await write(io.stdout, options.json ? `${data}\n` : lineOf(JSON.parse(data) as EventView));
}

function lineOf({ time, host, type, action, subject, attributes }: EventView): string {
  const { name } = attributes;
  const what = [name, subject === null ? undefined : name === undefined ? shortId(subject) : `(${shortId(subject)})`];
  const rest = Object.entries(attributes)
    .filter(([key]) => SHOWN.has(key))
    .map(([key, value]) => `${key}=${value}`);
  const said = action === null ? [] : [JSON.stringify(action)];
  return `${printable([time, host ?? '-', type, ...what, ...said, ...rest].filter((part) => part !== undefined).join('  '))}\n`;
}
