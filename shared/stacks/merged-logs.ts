/**
 * The logs of all containers of a stack as one: in the order of Docker's times as long as there is history to read, and
 * as they come from then on; containers that start later join in.
 */

import { asObject, type DockerObject, jsonLines } from '../docker/json.ts';
import { toDockerTime } from '../docker/time.ts';
import { justAfter } from '../docker/timestamps.ts';
import { FairleadError } from '../errors.ts';
import type { Params } from '../messages/kind.ts';
import { MAX_LOG_LINES, type StackLogLine, type stackLogs } from '../messages/stack.ts';
import type { DockerReader } from './docker-reader.ts';
import { type LogContainer, type LogOptions, LogSource } from './log-source.ts';
import { containersOf, nameOf, PROJECT_LABEL, serviceOf } from './project.ts';

/** Containers whose logs are read at once. */
const MAX_CONTAINERS = 100;
/** Of containers that have ended it is remembered how far they were read. */
const MAX_REMEMBERED = 1_000;
/** A log of which nothing has come for so long has no more history. */
const QUIET_MS = 200;
/** Lines that go out together, in UTF-16 units. */
const MAX_BATCH_CHARS = 48 * 1024;
const MAX_EVENT_BYTES = 256 * 1024;

export interface StackLogOptions extends LogOptions {
  readonly stack: string;
  /** Absent: all. */
  readonly services?: readonly string[] | undefined;
  /** From where containers are read whose logs are gone on with, by their ids; none of `tail` and `since` is for them. */
  readonly read?: ReadonlyMap<string, string> | undefined;
}

/** What `params` ask for. @param now the host's time, from which durations count @throws FairleadError VALIDATION */
export function stackLogOptions(params: Params<typeof stackLogs>, now: number): StackLogOptions {
  const { stack, services, follow = false, tail = 'all', since, until, read = [] } = params;
  const time = (given: string | undefined) => (given === undefined ? undefined : toDockerTime(given, now));
  return {
    ...{ stack, services, follow, tail, since: time(since), until: time(until) },
    read: new Map(read.map(({ id, since }) => [id, toDockerTime(since, now)])),
  };
}

export class MergedLogs {
  readonly #docker: DockerReader;
  readonly #options: StackLogOptions;
  readonly #signal: AbortSignal;
  readonly #sources = new Map<string, LogSource>();
  /** Containers that have started again before all was read of what they said before. */
  readonly #again = new Map<string, LogContainer>();
  /** How far each container was read. */
  readonly #read = new Map<string, string>();
  #failure: { readonly error: unknown } | undefined;
  #wake = Promise.withResolvers<void>();

  constructor(docker: DockerReader, options: StackLogOptions, signal: AbortSignal) {
    this.#docker = docker;
    this.#options = options;
    this.#signal = signal;
  }

  /** Begins. @returns how many containers there are @throws FairleadError NOT_FOUND, OVERLOADED, as DockerReader */
  async open(): Promise<number> {
    const { stack, follow, tail, since, until, read } = this.#options;
    // Before the list, so that nothing which starts meanwhile is missed.
    if (follow) await this.#watch();
    const containers = (await containersOf(this.#docker, stack, this.#signal)).map(toContainer).filter(this.#isWanted);
    if (containers.length === 0 && !follow) {
      throw new FairleadError('NOT_FOUND', `the stack ${stack} has no containers here whose logs could be read`);
    }
    for (const container of containers) {
      const on = read?.get(container.id);
      this.#add(
        container,
        on === undefined ? { follow, tail, since, until } : { follow, tail: 'all', since: on, until },
      );
    }
    return containers.length;
  }

  /** Some lines at a time, until all logs have ended; with `follow` until the signal fires. @throws its reason */
  async *batches(): AsyncGenerator<StackLogLine[]> {
    try {
      while (this.#mayGoOn) {
        const lines = this.#take();
        if (lines.length > 0) yield lines;
        // The last log may have been found to be over just now: nothing would wake who waited then.
        else if (this.#mayGoOn) await this.#change();
      }
    } finally {
      for (const source of this.#sources.values()) source.close();
    }
  }

  get #mayGoOn(): boolean {
    return this.#options.follow || this.#sources.size > 0;
  }

  readonly #isWanted = ({ service }: LogContainer): boolean => this.#options.services?.includes(service) ?? true;

  #add(container: LogContainer, options: LogOptions): void {
    if (this.#sources.size >= MAX_CONTAINERS) {
      const most = `the logs of ${MAX_CONTAINERS} containers can be read at once, and this stack has more`;
      throw new FairleadError('OVERLOADED', `${most}: name some of its services`);
    }
    const source = new LogSource(container, this.#onChange);
    this.#sources.set(container.id, source);
    void source.open(this.#docker, options, this.#signal);
    if (options.follow) this.#docker.clock.setTimeout(() => this.#quiet(source), QUIET_MS);
  }

  /** Whoever has said nothing meanwhile is not waited for any more. */
  #quiet(source: LogSource): void {
    source.isLive = true;
    this.#onChange();
  }

  /** All lines that are next by their time, as far as they go out together. */
  #take(): StackLogLine[] {
    const lines: StackLogLine[] = [];
    let chars = 0;
    while (lines.length < MAX_LOG_LINES && chars < MAX_BATCH_CHARS) {
      this.#signal.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure.error;
      const next = this.#next();
      if (next === undefined) break;
      const line = next.take();
      lines.push(line);
      chars += line.line.length;
    }
    return lines;
  }

  /**
   * The log whose next line comes first; undefined while one is still to be waited for, or none has any. One that cannot wait
   * goes before all others.
   */
  #next(): LogSource | undefined {
    let first: { readonly source: LogSource; readonly time: string } | undefined;
    let isMissing = false;
    for (const source of [...this.#sources.values()]) {
      const time = source.peek();
      if (time === undefined) {
        if (source.isOver) this.#forget(source);
        else if (!source.isLive) isMissing = true;
      } else if (source.isPressing) {
        return source;
      } else if (first === undefined || time < first.time) {
        first = { source, time };
      }
    }
    return isMissing ? undefined : first?.source;
  }

  #forget(source: LogSource): void {
    const { id } = source.container;
    this.#sources.delete(id);
    if (source.lastTime !== undefined) {
      this.#read.delete(id);
      this.#read.set(id, source.lastTime);
      for (const oldest of this.#read.keys()) {
        if (this.#read.size <= MAX_REMEMBERED) break;
        this.#read.delete(oldest);
      }
    }
    const again = this.#again.get(id);
    this.#again.delete(id);
    if (again !== undefined) this.#join(again);
  }

  /** A container that has started. */
  #join(container: LogContainer): void {
    const { since, read: before } = this.#options;
    const read = this.#read.get(container.id);
    const on = read === undefined ? (before?.get(container.id) ?? since) : justAfter(read);
    this.#add(container, { follow: true, tail: 'all', since: on });
  }

  /** Follows what starts, until the signal fires. */
  async #watch(): Promise<void> {
    const filters = { type: ['container'], event: ['start'], label: [`${PROJECT_LABEL}=${this.#options.stack}`] };
    const query = { filters: JSON.stringify(filters) };
    const events = await this.#docker.stream({ method: 'GET', path: '/events', query, signal: this.#signal });
    const follow = async () => {
      for await (const event of jsonLines(events, MAX_EVENT_BYTES)) this.#onStart(event);
      throw new FairleadError('STREAM_INTERRUPTED', 'Docker no longer tells of what starts');
    };
    void follow().catch((error: unknown) => {
      this.#failure = { error };
      this.#onChange();
    });
  }

  #onStart({ Actor }: DockerObject): void {
    const { ID, Attributes } = asObject(Actor);
    const attributes = asObject(Attributes);
    const container = toContainer({ Id: ID, Names: [attributes['name']], Labels: attributes });
    if (!this.#isWanted(container)) return;
    if (!this.#sources.has(container.id)) this.#join(container);
    else if (this.#again.size < MAX_CONTAINERS) this.#again.set(container.id, container);
  }

  readonly #onChange = (): void => {
    this.#wake.resolve();
  };

  /** Resolves when there may be something new. @throws the signal's reason */
  async #change(): Promise<void> {
    const signal = this.#signal;
    signal.throwIfAborted();
    signal.addEventListener('abort', this.#onChange, { once: true });
    await this.#wake.promise;
    signal.removeEventListener('abort', this.#onChange);
    this.#wake = Promise.withResolvers();
    signal.throwIfAborted();
  }
}

function toContainer(container: DockerObject): LogContainer {
  return { id: String(container['Id']), name: nameOf(container), service: serviceOf(container) };
}
