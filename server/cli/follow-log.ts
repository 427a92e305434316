/** A log that is followed over restarts of the server: asked for in Docker's own frames, with times, and put together here. */
import type { IncomingMessage } from 'node:http';
import { systemClock } from '../../shared/clock.ts';
import { gapDetail } from '../../shared/docker/followed-log.ts';
import type { LogForm } from '../../shared/docker/log-forms.ts';
import { type LogAsk, type OpenedLog, tailLog } from '../../shared/docker/log-tail.ts';
import { FairleadError } from '../../shared/errors.ts';
import { printable } from '../../shared/printable.ts';
import { type ApiClient, path, type Query } from './api-client.ts';
import { ServerComeback } from './comeback.ts';
import { type CliIo, write } from './io.ts';

const FRAMES = 'application/vnd.docker.multiplexed-stream';
const RAW = 'application/vnd.docker.raw-stream';

export interface FollowedLogOptions {
  readonly api: ApiClient;
  readonly io: CliIo;
  readonly host: string;
  readonly ask: Omit<LogAsk, 'follow'>;
  /** What else is asked: which streams. */
  readonly query: Query;
  readonly form: LogForm;
  /** Whether timestamps are given out. */
  readonly timestamps: boolean;
}

/**
 * The log from where it is asked for, to its end. Where a part of it was rotated away meanwhile it goes on, says so on
 * stderr, and fails at its end.
 * @throws FairleadError, also when the server stays away
 */
export async function followLog(options: FollowedLogOptions): Promise<AsyncIterable<Buffer | string>> {
  const { io, form, timestamps } = options;
  const comeback = new ServerComeback(io);
  const ask = { ...options.ask, follow: true };
  const first = await openLog(options, ask);
  const gaps: string[] = [];
  const chunks = tailLog(first, {
    ...{ ask, form, timestamps, clock: systemClock },
    async open(again) {
      const opened = await openLog(options, again);
      await comeback.found();
      return opened;
    },
    comeBack: (error, livedMs) => comeback.wait(error, livedMs),
    onGap: (after) => void gaps.push(gapDetail(after)),
  });
  return tellingGaps(chunks, gaps, io);
}

/** Tells of each of `gaps`, as it comes there with a chunk, on stderr. @throws FairleadError DOCKER_ERROR at the end if there were some */
export async function* tellingGaps(
  chunks: AsyncIterable<Buffer | string>,
  gaps: string[],
  { stderr }: CliIo,
): AsyncGenerator<Buffer | string> {
  let last: string | undefined;
  for await (const chunk of chunks) {
    yield chunk;
    for (let gap = gaps.shift(); gap !== undefined; gap = gaps.shift()) {
      last = gap;
      await write(stderr, `fairlead: ${printable(gap)}; it goes on with what there is\n`);
    }
  }
  last = gaps.shift() ?? last;
  if (last !== undefined) throw new FairleadError('DOCKER_ERROR', last);
}

async function openLog({ api, host, query }: FollowedLogOptions, ask: LogAsk): Promise<OpenedLog> {
  const { id, follow, tail, since, until } = ask;
  const body = await api.stream(path`/api/v1/hosts/${host}/containers/${id}/logs`, {
    accept: `${FRAMES}, ${RAW}`,
    query: { ...query, follow: follow ? 1 : undefined, tail, since, until, timestamps: 1 },
  });
  return {
    tty: body.headers['content-type'] === RAW,
    id: header(body, 'x-fairlead-container-id'),
    startedAt: header(body, 'x-fairlead-container-started'),
    openedAt: header(body, 'x-fairlead-log-opened'),
    bytes: body,
    drop: () => void body.destroy(),
  };
}

function header({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}
