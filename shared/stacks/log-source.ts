/** The log of one container of a stack, as records that are taken one by one. */
import { pipeline, type Readable } from 'node:stream';
import { dockerPath } from '../docker/call.ts';
import { demuxToRecords, type LogRecord } from '../docker/demux.ts';
import { asObject } from '../docker/json.ts';
import { isFairleadError } from '../errors.ts';
import type { StackLogLine } from '../messages/stack.ts';
import { type DockerReader, PRESSING, type SharedBytes } from './docker-reader.ts';

export interface LogOptions {
  readonly follow: boolean;
  /** As Docker's API takes them. */
  readonly tail: number | 'all';
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

export interface LogContainer {
  readonly id: string;
  readonly name: string;
  readonly service: string;
}

/** From its first record to its last one. */
export class LogSource {
  readonly container: LogContainer;
  readonly #onChange: () => void;
  #bytes: SharedBytes | undefined;
  #records: Readable | undefined;
  #head: LogRecord | undefined;
  #isOver = false;
  #error: unknown;
  /** Docker's time of the last record that was taken. */
  lastTime: string | undefined;
  /** Nothing comes of it for the moment, so that nobody waits for it any more. */
  isLive = false;

  /** @param onChange is called whenever there may be something new to take, or nothing more */
  constructor(container: LogContainer, onChange: () => void) {
    this.container = container;
    this.#onChange = onChange;
  }

  /** Asks Docker for it. What fails here shows when it is taken. Never rejects. */
  async open(docker: DockerReader, options: LogOptions, signal: AbortSignal): Promise<void> {
    try {
      const path = dockerPath`/containers/${this.container.id}/json`;
      const inspected = asObject(await docker.json({ method: 'GET', path, signal }));
      const tty = asObject(inspected['Config'])['Tty'] === true;
      const { follow, tail, since, until } = options;
      const query = {
        ...{ stdout: 1, stderr: 1, timestamps: 1, follow: Number(follow), tail },
        ...(since === undefined ? {} : { since }),
        ...(until === undefined ? {} : { until }),
      };
      const call = { method: 'GET' as const, path: dockerPath`/containers/${this.container.id}/logs`, query, signal };
      const bytes = await docker.stream(call, tty);
      this.#bytes = bytes;
      bytes.on(PRESSING, this.#onChange);
      this.#records = pipeline(bytes, demuxToRecords({ tty, timestamps: true }), (error) => this.#end(error));
      this.#records.on('readable', this.#onChange);
    } catch (error) {
      this.#end(error);
    }
  }

  #end(error: unknown): void {
    this.#isOver = true;
    this.#error = error ?? undefined;
    this.#onChange();
  }

  /** Docker's time of what comes next; undefined: nothing is there now. @throws what its reading fails with */
  peek(): string | undefined {
    this.#head ??= (this.#records?.read() as LogRecord | null | undefined) ?? undefined;
    if (this.#head !== undefined) return this.#head.time ?? this.lastTime ?? '';
    if (this.#isOver && this.#error !== undefined) this.#explain();
    return this.#head === undefined ? undefined : '';
  }

  /** What comes next, which is there. */
  take(): StackLogLine {
    const { id, name, service } = this.container;
    const record = this.#head;
    if (record === undefined) throw new Error('there is no record to take');
    this.#head = undefined;
    this.lastTime = record.time ?? this.lastTime;
    return { service, container: name, id, ...record };
  }

  /** Whether nothing more will come. */
  get isOver(): boolean {
    return this.#isOver && this.peek() === undefined && (this.#records?.readableLength ?? 0) === 0;
  }

  /** Whether it cannot wait for others, whatever their times: it is held up no longer. */
  get isPressing(): boolean {
    return this.#bytes?.isPressing === true;
  }

  close(): void {
    this.#records?.destroy();
  }

  /** A container that has gone says nothing; why a log cannot be read is said in its place, once. @throws any other error */
  #explain(): void {
    const error = this.#error;
    this.#error = undefined;
    if (isFairleadError(error, 'CONTAINER_NOT_FOUND') || isFairleadError(error, 'NOT_FOUND')) return;
    if (!isFairleadError(error, 'DOCKER_ERROR') && !isFairleadError(error, 'UNSUPPORTED')) throw error;
    this.#head = { stream: 'stderr', line: `(its log cannot be read: ${error.message})` };
  }
}
