/**
 * The one sequence of all events. What is added is written together and numbered; the last ones are in memory, too, so that
 * many who follow cost the store nothing. Nothing waits here for any of them: each reads at its own pace.
 */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_QUEUED_ROWS, RowQueue } from '../row-queue.ts';
import { type EventFilter, type EventRow, MAX_EVENT_ROWS, type NewEvent } from '../store/events.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';

/** Events are written at most this often, in ms. */
const WRITE_MS = 50;
/** Events that are kept in memory, in number and in characters. */
const MAX_RECENT = 2_048;
const MAX_RECENT_CHARS = 2 * 1024 * 1024;
/** Events that one step of reading gives. */
const STEP_EVENTS = 200;

export interface EventLogDeps {
  readonly store: Pick<Store, 'events'>;
  readonly clock: Clock;
}

/** One step of reading. */
export interface EventStep {
  readonly rows: readonly EventRow[];
  /** How far that was: where the next step begins. */
  readonly upTo: number;
}

export class EventLog {
  readonly #deps: EventLogDeps;
  readonly #queue: RowQueue<Omit<EventRow, 'id'>>;
  /** In the order of their ids, none missing. */
  #recent: EventRow[] = [];
  #recentChars = 0;
  #first: number;
  #last: number;
  readonly #waiters = new Set<() => void>();

  /** @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: EventLogDeps): Promise<EventLog> {
    const { first, last } = (await deps.store.events.bounds()) ?? { first: 1, last: 0 };
    return new EventLog(deps, first, last);
  }

  private constructor(deps: EventLogDeps, first: number, last: number) {
    this.#deps = deps;
    this.#first = first;
    this.#last = last;
    this.#queue = new RowQueue({
      ...{ name: 'the log of events', clock: deps.clock, intervalMs: WRITE_MS, maxRows: MAX_EVENT_ROWS },
      write: (rows) => this.#write(rows),
      settle: async () => this.#wake(),
    });
  }

  /** The ids of the oldest event that is kept, and of the newest; `first` is one more if there is none. */
  get first(): number {
    return this.#first;
  }

  get last(): number {
    return this.#last;
  }

  /**
   * Adds events in their order; each resolves once it is written. They survive a crash of the process, and a power cut but
   * for the last moments.
   * @returns for each whether it was written, or what kept it from that: FairleadError STORE_FULL, STORE_UNAVAILABLE
   * @throws FairleadError OVERLOADED, and none is added
   */
  async add(events: readonly NewEvent[]): Promise<PromiseSettledResult<void>[]> {
    if (this.#queue.size + events.length > MAX_QUEUED_ROWS) {
      throw new FairleadError('OVERLOADED', 'too many events wait to be written', { retryAfterSeconds: 1 });
    }
    const at = this.#deps.clock.now();
    return await Promise.allSettled(events.map((event) => this.#queue.add({ ...event, at })));
  }

  /**
   * The events behind `after` that may fit: those in memory whatever they are, those of the store that fit.
   * @throws FairleadError STORE_UNAVAILABLE
   */
  async read(after: number, filter: EventFilter): Promise<EventStep> {
    if (after >= this.#last) return { rows: [], upTo: after };
    const [oldest] = this.#recent;
    if (oldest !== undefined && after >= oldest.id - 1) {
      const from = after + 1 - oldest.id;
      const rows = this.#recent.slice(from, from + STEP_EVENTS);
      return { rows, upTo: rows.at(-1)?.id ?? after };
    }
    return await this.#deps.store.events.read(after, STEP_EVENTS, filter);
  }

  /** Newest first. */
  async list(page: PageRequest, filter: EventFilter): Promise<Page<EventRow>> {
    return await this.#deps.store.events.list(page, filter);
  }

  /** Resolves once there are events behind `after`, or after `ms`. @throws the signal's reason */
  async news(after: number, ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (after < this.#last) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => reject(signal.reason);
    const timer = this.#deps.clock.setTimeout(resolve, ms);
    signal.addEventListener('abort', abort);
    this.#waiters.add(resolve);
    try {
      await promise;
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', abort);
      this.#waiters.delete(resolve);
    }
  }

  /** Drops events up to `id`, but never the last one, from which the next one's number follows. */
  async dropThrough(id: number): Promise<void> {
    const through = Math.min(id, this.#last - 1);
    if (through < this.#first) return;
    await this.#deps.store.events.dropThrough(through);
    this.#first = through + 1;
    while (this.#recent[0] !== undefined && this.#recent[0].id <= through) this.#forgetOldest();
  }

  /** Writes what waits. */
  async drain(): Promise<void> {
    await this.#queue.drain();
  }

  async #write(added: readonly Omit<EventRow, 'id'>[]): Promise<void> {
    const rows = added.map((row, index) => ({ ...row, id: this.#last + 1 + index }));
    await this.#deps.store.events.append(rows);
    this.#last += rows.length;
    for (const row of rows) this.#remember(row);
  }

  #remember(row: EventRow): void {
    this.#recent.push(row);
    this.#recentChars += row.attributes.length;
    while (this.#recent.length > MAX_RECENT || this.#recentChars > MAX_RECENT_CHARS) this.#forgetOldest();
  }

  #forgetOldest(): void {
    this.#recentChars -= this.#recent.shift()?.attributes.length ?? 0;
  }

  #wake(): void {
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }
}
