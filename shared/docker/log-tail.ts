/** Follows a log over interruptions: opens it again when it can be reached again, and goes on with the very next byte. */
import type { Clock } from '../clock.ts';
import { FollowedLog } from './followed-log.ts';
import { type LogForm, type LogSink, logSink } from './log-forms.ts';
import { toDockerTime } from './time.ts';
import { isLater, NEVER } from './timestamps.ts';

/** A tail of which nothing came for so long had nothing to show when it was opened, in ms. */
const QUIET_MS = 2_000;

/** Which part of a log, in Docker's words. */
export interface LogRange {
  readonly tail?: number;
  readonly since?: string;
  readonly until?: string;
}

/** What is asked of a log; timestamps are always asked for. */
export interface LogAsk extends LogRange {
  /** The container: what was given at first, its id afterwards. */
  readonly id: string;
  readonly follow: boolean;
}

/** A log that was opened. */
export interface OpenedLog {
  readonly tty: boolean;
  /** The container's id. */
  readonly id?: string | undefined;
  /** When it was started last, as Docker says. */
  readonly startedAt?: string | undefined;
  /** The host's time before the log was opened, RFC 3339. */
  readonly openedAt?: string | undefined;
  readonly bytes: AsyncIterable<Buffer>;
  /** Ends the work behind it. Idempotent. */
  drop(): void;
}

export interface LogTailOptions {
  readonly ask: LogAsk;
  readonly form: LogForm;
  /** Whether timestamps are given out. */
  readonly timestamps: boolean;
  readonly clock: Clock;
  open(ask: LogAsk): Promise<OpenedLog>;
  /**
   * Waits until it is worth to open the log again.
   * @param error what interrupted it, or what opening it again failed with
   * @param livedMs how long it had been open
   * @throws what the tail ends with, `error` itself if that is no interruption
   */
  comeBack(error: unknown, livedMs: number): Promise<void>;
  /** Told of a gap, so that the log goes on behind it. Without this only records do, which tell of it themselves. */
  onGap?(after: string): void;
}

/** What `first`, the log as it was opened at first, gives and all that comes after it, in the form that is asked for. */
export async function* tailLog(first: OpenedLog, options: LogTailOptions): AsyncGenerator<Buffer | string> {
  const { form, timestamps, clock } = options;
  const { tty } = first;
  const sink = logSink({ form, tty, timestamps });
  const log = new FollowedLog({
    ...{ tty, keepTimestamps: timestamps, emit: sink.emit },
    isTail: options.ask.tail !== undefined,
    onGap: gapTeller(sink, options),
  });
  const openedAtMs = Date.parse(first.openedAt ?? '') || clock.now();
  let opened = first;
  let { ask } = options;
  for (;;) {
    const since = clock.monotonic();
    let failure: unknown;
    let isWhole = false;
    try {
      for await (const chunk of opened.bytes) {
        log.push(chunk);
        const out = sink.take();
        if (out !== undefined) yield out;
      }
      isWhole = true;
      log.end();
      sink.end();
      const rest = sink.take();
      if (rest !== undefined) yield rest;
      return;
    } catch (error) {
      failure = error;
    } finally {
      if (!isWhole) opened.drop();
    }
    if (log.isUntimed || log.isBroken) throw failure;
    const livedMs = clock.monotonic() - since;
    ask = nextAsk(first, log, livedMs, absolute(ask, openedAtMs));
    opened = await reopen(first, ask, failure, livedMs, options);
    log.begin();
  }
}

function gapTeller(sink: LogSink, options: LogTailOptions): ((after: string) => void) | undefined {
  if (options.form !== 'ndjson' && options.onGap === undefined) return undefined;
  return (after) => {
    sink.gap(after);
    options.onGap?.(after);
  };
}

/** A duration counts from when the log was opened at first, by the clock of its host: it must not move when that is repeated. */
export function absolute<A extends LogRange>(ask: A, openedAtMs: number): A {
  const { since, until } = ask;
  return {
    ...ask,
    ...(since === undefined ? {} : { since: toDockerTime(since, openedAtMs) }),
    ...(until === undefined ? {} : { until: toDockerTime(until, openedAtMs) }),
  };
}

/** How a log is asked for again. */
function nextAsk(first: OpenedLog, log: FollowedLog, livedMs: number, ask: LogAsk): LogAsk {
  const { tail: _, ...rest } = ask;
  const id = first.id ?? ask.id;
  const { since } = log;
  if (since !== undefined) return { ...rest, id, since };
  return { ...askUnheard(ask, first.openedAt, livedMs), id, follow: ask.follow };
}

/** How is asked again of what nothing has come: it may have been on its way, or there was nothing before the tail began. */
export function askUnheard(ask: LogRange, openedAt: string | undefined, livedMs: number): LogRange {
  const { tail, ...rest } = ask;
  const isTailOver = tail === 0 || (tail !== undefined && livedMs >= QUIET_MS);
  return !isTailOver || openedAt === undefined ? ask : { ...rest, since: openedAt };
}

async function reopen(
  first: OpenedLog,
  ask: LogAsk,
  failure: unknown,
  livedMs: number,
  { open, comeBack }: LogTailOptions,
): Promise<OpenedLog> {
  let cause = failure;
  let lived = livedMs;
  for (;;) {
    await comeBack(cause, lived);
    try {
      const opened = await open(ask);
      const { startedAt } = opened;
      if (!ask.follow || !isRestart(first.startedAt, startedAt)) return opened;
      // Docker's own tail ends with the container. What it wrote until it was started anew belongs to it.
      opened.drop();
      return await open({ ...ask, follow: false, ...(startedAt === undefined ? {} : { until: startedAt }) });
    } catch (error) {
      cause = error;
      lived = 0;
    }
  }
}

function isRestart(before: string | undefined, now: string | undefined): boolean {
  return before !== undefined && now !== undefined && before !== NEVER && isLater(now, before);
}
