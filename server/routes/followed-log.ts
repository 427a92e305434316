/** A container's log as a route gives it: once, or followed over the absences of its host. */
import { pipeline, type Readable, type Transform } from 'node:stream';
import { demuxToBytes, demuxToNdjson } from '../../shared/docker/demux.ts';
import type { LogForm } from '../../shared/docker/log-forms.ts';
import { type OpenedLog, tailLog } from '../../shared/docker/log-tail.ts';
import { containerLogStream } from '../../shared/messages/container.ts';
import type { Params } from '../../shared/messages/kind.ts';
import type { HostLink, LinkStream } from '../hosts/host-link.ts';
import { type ComebackOptions, HostComeback } from './host-comeback.ts';
import { clientGone } from './live-streams.ts';

type LogParams = Params<typeof containerLogStream>;
type LogStream = LinkStream<typeof containerLogStream>;

export interface LogAnswer {
  /** The host's first message about the log. */
  readonly reply: LogStream['reply'];
  readonly chunks: AsyncIterable<Buffer | string>;
}

/** Reads a log once: an interruption ends it. */
export async function readLog(
  link: HostLink,
  params: LogParams,
  form: LogForm,
  signal: AbortSignal,
): Promise<LogAnswer> {
  const log = await link.open(containerLogStream, params, { signal });
  return { reply: log.reply, chunks: endingStream(log, parsed(log, form, params.timestamps ?? false)) };
}

/** Follows a log: when its host was away it goes on where it stopped, by the times that Docker has for each entry. */
export async function followLog(
  link: HostLink,
  params: LogParams,
  form: LogForm,
  options: Omit<ComebackOptions, 'hostId'>,
): Promise<LogAnswer> {
  const { signal, clock } = options;
  const { timestamps = false, stdout = true, stderr = true, follow: _, ...ask } = params;
  const comeback = new HostComeback({ ...options, hostId: link.hostId });
  let present = link;
  const open = async (asked: Omit<LogParams, 'timestamps'>) =>
    await present.open(containerLogStream, { ...asked, stdout, stderr, timestamps: true }, { signal });
  const first = await open({ ...ask, follow: true });
  const chunks = tailLog(opened(first), {
    ...{ ask: { ...ask, follow: true }, form, timestamps, clock },
    open: async (again) => opened(await open(again)),
    comeBack: async (error, livedMs) => {
      present = await comeback.link(error, livedMs);
    },
  });
  return { reply: first.reply, chunks };
}

function opened(log: LogStream): OpenedLog {
  return { ...log.reply, bytes: log.bytes, drop: () => log.reset(clientGone()) };
}

function parsed(log: LogStream, form: LogForm, timestamps: boolean): AsyncIterable<Buffer | string> {
  const { tty } = log.reply;
  if (form === 'frames') return log.bytes;
  return parse(log.bytes, form === 'ndjson' ? demuxToNdjson({ tty, timestamps }) : demuxToBytes({ tty }));
}

/** Puts `parser` behind `bytes`. What fails either of them destroys both, and so is thrown to the parser's reader. */
function parse(bytes: Readable, parser: Transform): Transform {
  return pipeline(bytes, parser, () => undefined);
}

/** Passes `chunks` on; a reader that stops early ends the work on the host. */
export async function* endingStream<T>(stream: Pick<LinkStream, 'reset'>, chunks: AsyncIterable<T>): AsyncGenerator<T> {
  let isWhole = false;
  try {
    yield* chunks;
    isWhole = true;
  } finally {
    if (!isWhole) stream.reset(clientGone());
  }
}
