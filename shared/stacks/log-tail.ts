/** Follows a stack's logs over interruptions: each container's goes on where it stopped, by the rules of a single log. */
import type { Clock } from '../clock.ts';
import { FollowedLog, gapDetail } from '../docker/followed-log.ts';
import { absolute, askUnheard, type LogRange } from '../docker/log-tail.ts';
import { justAfter } from '../docker/timestamps.ts';
import { MAX_READ_CONTAINERS, type ReadContainer, type StackLogLine } from '../messages/stack.ts';

/** Says that a part of a container's log was rotated away before it was read. */
export interface StackLogGap {
  readonly gap: {
    readonly service: string;
    readonly container: string;
    readonly id: string;
    /** The time of the last line before. */
    readonly after: string;
    readonly detail: string;
  };
}
export type StackLogEntry = StackLogLine | StackLogGap;

/** From where the logs are asked for; `read` is for those containers in place of the rest. */
export interface StackLogAsk extends LogRange {
  readonly read?: ReadContainer[];
}

/** Logs that were opened. */
export interface OpenedStackLogs {
  /** The host's time before they were, RFC 3339. */
  readonly openedAt?: string | undefined;
  /** Some at a time. Whoever stops early ends the work behind it. */
  readonly entries: AsyncIterable<readonly StackLogEntry[]>;
}

export interface StackLogTailOptions {
  readonly ask: StackLogAsk;
  readonly clock: Clock;
  /** Whether a gap is given out, so that the log goes on behind it; without this it is a failure. */
  readonly gaps: boolean;
  /**
   * Opens the logs again, as soon as that is possible.
   * @param error what interrupted them
   * @param livedMs how long they had been open
   * @throws what the tail ends with, `error` itself if that is no interruption
   */
  reopen(error: unknown, livedMs: number, ask: StackLogAsk): Promise<OpenedStackLogs>;
}

/** What `first`, the logs as they were opened at first, give and all that comes after it. */
export async function* tailStackLogs(
  first: OpenedStackLogs,
  { ask, clock, gaps, reopen }: StackLogTailOptions,
): AsyncGenerator<readonly StackLogEntry[]> {
  const logs = new ContainerLogs(ask, gaps);
  const openedAtMs = Date.parse(first.openedAt ?? '') || clock.now();
  let opened = first;
  let { read: _, ...others } = ask;
  for (;;) {
    const since = clock.monotonic();
    let failure: unknown;
    try {
      for await (const entries of opened.entries) {
        const fresh = entries.flatMap((entry) => logs.take(entry));
        if (fresh.length > 0) yield fresh;
      }
      return;
    } catch (error) {
      failure = error;
    }
    if (logs.isBroken) throw failure;
    const livedMs = clock.monotonic() - since;
    others = logs.askOthers(absolute(others, openedAtMs), first.openedAt, livedMs);
    opened = await reopen(failure, livedMs, { ...others, read: logs.read });
    logs.begin();
  }
}

/** All containers that have been heard, by their ids; who was heard last stands last. */
class ContainerLogs {
  readonly #isTail: boolean;
  readonly #gaps: boolean;
  /** From where those are read that were heard before this tail began. */
  readonly #before: ReadonlyMap<string, string>;
  readonly #logs = new Map<string, ContainerLog>();
  #last: ContainerLog | undefined;
  /** Up to when those were heard that are not remembered any more. */
  #forgotten: string | undefined;

  constructor({ tail, read = [] }: StackLogAsk, gaps: boolean) {
    this.#isTail = tail !== undefined;
    this.#gaps = gaps;
    this.#before = new Map(read.map(({ id, since }) => [id, since]));
  }

  /** Whether opening them again does not help. */
  get isBroken(): boolean {
    return this.#logs.values().some(({ isBroken }) => isBroken);
  }

  /** From where each is read on. */
  get read(): ReadContainer[] {
    const all = new Map(this.#before);
    for (const [id, { since }] of this.#logs) {
      all.delete(id);
      if (since !== undefined) all.set(id, since);
    }
    return [...all].slice(-MAX_READ_CONTAINERS).map(([id, since]) => ({ id, since }));
  }

  /** How containers are asked for that have not been heard: one that is new from its start. */
  askOthers(ask: LogRange, openedAt: string | undefined, livedMs: number): LogRange {
    const { tail, ...rest } = askUnheard(ask, openedAt, this.#logs.size > 0 ? Number.POSITIVE_INFINITY : livedMs);
    if (this.#forgotten !== undefined) return { ...rest, since: this.#forgotten };
    return tail === undefined ? rest : { ...rest, tail };
  }

  begin(): void {
    for (const log of this.#logs.values()) log.begin();
  }

  /** What of an entry was not given out before, and what is missing before it. @throws FairleadError DOCKER_ERROR for a gap */
  take(entry: StackLogEntry): StackLogEntry[] {
    return 'gap' in entry ? [entry] : this.#of(entry.id).take(entry);
  }

  #of(id: string): ContainerLog {
    let log = this.#logs.get(id);
    if (log !== undefined && log === this.#last) return log;
    log ??= new ContainerLog(this.#isTail, this.#gaps);
    this.#logs.delete(id);
    this.#logs.set(id, log);
    this.#last = log;
    if (this.#logs.size > MAX_READ_CONTAINERS) this.#forgetOldest();
    return log;
  }

  #forgetOldest(): void {
    for (const [id, { lastTime }] of this.#logs) {
      this.#logs.delete(id);
      const end = lastTime === undefined ? undefined : justAfter(lastTime);
      if (Number(end ?? 0) > Number(this.#forgotten ?? 0)) this.#forgotten = end;
      return;
    }
  }
}

/** What was given out of one container's log. */
class ContainerLog {
  readonly #log: FollowedLog;
  #isNew = false;
  #gap: string | undefined;
  /** What was said in place of its log. */
  #instead: string | undefined;
  lastTime: string | undefined;

  constructor(isTail: boolean, gaps: boolean) {
    this.#log = new FollowedLog({
      ...{ tty: false, keepTimestamps: false, isTail },
      emit: (_stream, _piece, isStart) => {
        this.#isNew ||= isStart;
      },
      onGap: gaps ? (after) => this.#missing(after) : undefined,
    });
  }

  get isBroken(): boolean {
    return this.#log.isBroken || this.#log.isUntimed;
  }

  get since(): string | undefined {
    return this.#log.since;
  }

  begin(): void {
    this.#log.begin();
  }

  take(line: StackLogLine): StackLogEntry[] {
    const { time, service, container, id } = line;
    if (time === undefined) return this.#takeInstead(line);
    this.#isNew = false;
    this.#log.push(frameOf(line, time));
    if (!this.#isNew) return [];
    this.lastTime = time;
    const after = this.#gap;
    this.#gap = undefined;
    if (after === undefined) return [line];
    return [{ gap: { service, container, id, after, detail: gapDetail(after) } }, line];
  }

  #missing(after: string): void {
    this.#gap = after;
  }

  /** Why it cannot be read is said once, not after each interruption. */
  #takeInstead(line: StackLogLine): StackLogLine[] {
    if (line.line === this.#instead) return [];
    this.#instead = line.line;
    return [line];
  }
}

/** Docker's header of a frame. */
const HEADER_BYTES = 8;

/** A line as Docker sends it. */
function frameOf({ stream, line }: StackLogLine, time: string): Buffer {
  const text = `${time} ${line}\n`;
  const bytes = Buffer.byteLength(text);
  const frame = Buffer.alloc(HEADER_BYTES + bytes);
  frame.writeUInt8(stream === 'stderr' ? 2 : 1, 0);
  frame.writeUInt32BE(bytes, 4);
  frame.write(text, HEADER_BYTES);
  return frame;
}

/** A line as text, with its end. */
export function textOfLine({ container, time, line }: StackLogLine, timestamps: boolean): string {
  return `${container} | ${timestamps && time !== undefined ? `${time} ` : ''}${line}\n`;
}
