/**
 * Takes the events of each connected host from its agent, in order and none of them twice: what has been written is what the
 * agent is told has arrived. A host that floods waits for its turn, and its agent drops what it then has no room for.
 */
import type { Logger } from 'pino';
import { Backoff } from '../../shared/backoff.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import { DOCKER_REMEMBERS, Repeats } from '../../shared/docker/events.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { type HostEvent, hostEvents } from '../../shared/messages/host-events.ts';
import type { Reply } from '../../shared/messages/kind.ts';
import { sleep } from '../../shared/sleep.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import { MAX_SOURCE_ROWS } from '../store/event-sources.ts';
import type { NewEvent } from '../store/events.ts';
import type { Store } from '../store/store.ts';
import { Tally } from '../tally.ts';
import type { EventLog } from './event-log.ts';
import type { HostDirectory } from './host-directory.ts';
import { fromAgent, isDockers, markOf, markOfRow } from './host-event.ts';

/** Events of one host: as many at once as Docker makes in a storm, and for long so few that no host takes the log for itself. */
const EVENTS_PER_SECOND = 20;
const EVENT_BURST = 5_000;
/** What is larger counts as several. */
const EVENT_CHARS = 512;
/** Hosts whose place is looked up at once: after a restart of the server all come back. */
const LOOKUPS_AT_ONCE = 8;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** Of the first events of a session some may be repeated: those that Docker remembers, and what was sent and not said to have come. */
const MAY_REPEAT = 2 * DOCKER_REMEMBERS;
/** Enough of a host's last events to find one of Docker's among them, most of the time. */
const LAST_ROWS = 16;
/** How much of the places a crash may lose; what was written tells the rest. */
const SAVE_MS = 1_000;

/** Its session ends: an agent that stops says so before it closes it. That the host is offline is told elsewhere. */
const GOING = 'STREAM_INTERRUPTED';
/** Why a host is not asked any more in this session. */
const FINAL: ReadonlySet<string> = new Set(['DENIED_BY_HOST', 'UNSUPPORTED', 'HOST_OFFLINE', 'SHUTDOWN']);

export interface HostFeedsDeps {
  readonly store: Pick<Store, 'events' | 'eventSources'>;
  readonly registry: Pick<HostRegistry, 'subscribe' | 'links'>;
  readonly eventLog: EventLog;
  readonly directory: HostDirectory;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Pick<Logger, 'warn' | 'debug'>;
}

/** How far the events of a host have been taken. */
interface Place {
  feed?: string;
  after?: number;
  sinceMicros?: number;
}

/** How many events a host may bring at once, as of a time by the monotonic clock; below 0 it waits. */
interface Budget {
  readonly events: number;
  readonly at: number;
}

interface Following {
  readonly stop: AbortController;
  readonly done: Promise<void>;
}

export class HostFeeds {
  readonly #deps: HostFeedsDeps;
  /** By host; of those that are connected. */
  readonly #following = new Map<string, Following>();
  /** Places to be saved, by source. */
  readonly #unsaved = new Map<string, string>();
  /** By host, across its sessions; of those that have brought some of late. */
  readonly #budgets = new Map<string, Budget>();
  readonly #forged: Tally;
  #lastForger: string | undefined;
  readonly #unsubscribe: () => void;
  readonly #timer: Timer;
  #lookups: Promise<unknown>[] = [];
  #saving: Promise<void> = Promise.resolve();

  constructor(deps: HostFeedsDeps) {
    this.#deps = deps;
    this.#lookups = Array.from({ length: LOOKUPS_AT_ONCE }, () => Promise.resolve());
    this.#forged = new Tally(deps.clock, (events) => {
      deps.log.warn({ events, lastOf: this.#lastForger }, 'hosts sent events that are not theirs to send');
    });
    this.#unsubscribe = deps.registry.subscribe({ online: (link) => this.#begin(link) });
    this.#timer = deps.clock.setInterval(() => {
      this.#save();
      for (const hostId of this.#budgets.keys()) this.#budgetOf(hostId);
    }, SAVE_MS);
  }

  /** Asks no host any more: a question that waits would hold up the end of its session. Idempotent. */
  stop(): void {
    this.#unsubscribe();
    for (const { stop } of this.#following.values())
      stop.abort(new FairleadError('SHUTDOWN', 'the server is stopping'));
  }

  /** Stops, and saves how far it came. Idempotent. */
  async close(): Promise<void> {
    this.stop();
    this.#timer.cancel();
    await Promise.all([...this.#following.values()].map(({ done }) => done));
    this.#save();
    await this.#saving;
    await this.#forged.flush();
  }

  /** The host was removed: nothing goes on there. */
  forget(hostId: string): void {
    this.#unsaved.delete(sourceOf(hostId));
    this.#saving = this.#saving.then(() =>
      this.#deps.store.eventSources.delete(sourceOf(hostId)).catch((error: unknown) => {
        this.#deps.log.warn({ err: error, hostId }, 'how far events of a removed host were taken was not deleted');
      }),
    );
  }

  #begin(link: HostLink): void {
    if (!link.describe().capabilities.includes(hostEvents.name)) return;
    const older = this.#following.get(link.hostId);
    const stop = new AbortController();
    older?.stop.abort(new FairleadError('REPLACED', 'a newer session of this host took over'));
    void link.closed.then((cause) => stop.abort(cause));
    const done = this.#follow(link, stop.signal, older?.done).finally(() => {
      if (this.#following.get(link.hostId)?.stop === stop) this.#following.delete(link.hostId);
    });
    this.#following.set(link.hostId, { stop, done });
  }

  /** Never rejects. */
  async #follow(link: HostLink, signal: AbortSignal, older: Promise<void> | undefined): Promise<void> {
    const { clock, random, log } = this.#deps;
    const backoff = new Backoff({ minMs: RETRY_MIN_MS, maxMs: RETRY_MAX_MS, random });
    const { hostId } = link;
    // What the older session brought is written by then.
    await older;
    while (!signal.aborted) {
      try {
        await this.#session(link, signal, () => backoff.reset());
      } catch (error) {
        if (signal.aborted) return;
        if (isFairleadError(error) && FINAL.has(error.code)) {
          log.debug({ hostId, code: error.code }, 'a host gives no events');
          return;
        }
        const level = isFairleadError(error, GOING) ? 'debug' : 'warn';
        log[level]({ err: error, hostId }, "a host's events could not be taken; trying again");
      }
      await sleep(backoff.nextAtLeastCeiling(), clock, signal).catch(() => undefined); // it ends
    }
  }

  /** Takes what the host has until something fails, or it answers without an event. */
  async #session(link: HostLink, signal: AbortSignal, onTaken: () => void): Promise<void> {
    const { clock } = this.#deps;
    const place = await this.#lookUp(link.hostId);
    let received = 0;
    for (;;) {
      const { events } = this.#budgetOf(link.hostId);
      if (events < 0) await sleep((-events / EVENTS_PER_SECOND) * 1000, clock, signal);
      const reply = await link.call(hostEvents, place, { signal, timeoutMs: Number.POSITIVE_INFINITY });
      if (reply.events.length === 0) return;
      const fresh = received < MAY_REPEAT ? await this.#withoutRepeats(link.hostId, reply.events) : reply.events;
      received += reply.events.length;
      await this.#write(link.hostId, fresh, signal);
      this.#moveOn(link.hostId, place, reply);
      onTaken();
      this.#spend(link.hostId, reply.events);
    }
  }

  /** What a host has to spend now. One that has all of it again is not remembered. */
  #budgetOf(hostId: string): Budget {
    const now = this.#deps.clock.monotonic();
    const { events, at } = this.#budgets.get(hostId) ?? { events: EVENT_BURST, at: now };
    const budget = { events: Math.min(EVENT_BURST, events + ((now - at) / 1000) * EVENTS_PER_SECOND), at: now };
    if (budget.events < EVENT_BURST) this.#budgets.set(hostId, budget);
    else this.#budgets.delete(hostId);
    return budget;
  }

  #spend(hostId: string, events: readonly HostEvent[]): void {
    const cost = events.map((event) => Math.max(1, JSON.stringify(event).length / EVENT_CHARS));
    const { events: had, at } = this.#budgetOf(hostId);
    this.#budgets.set(hostId, { events: had - cost.reduce((sum, one) => sum + one, 0), at });
  }

  /** Those that are not there yet. Looked for anew each time: what is kept for each host is kept ten thousand times. */
  async #withoutRepeats(hostId: string, events: readonly HostEvent[]): Promise<HostEvent[]> {
    const repeats = new Repeats();
    for (const row of await this.#deps.store.events.lastOf(hostId, MAY_REPEAT)) repeats.note(markOfRow(row));
    return events.filter((event) => !repeats.note(markOf(event)));
  }

  /** Where the host's events go on. */
  async #lookUp(hostId: string): Promise<Place> {
    const { store, eventLog } = this.#deps;
    const before = this.#lookups.shift();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#lookups.push(promise);
    await before;
    try {
      await eventLog.drain();
      const saved = this.#unsaved.get(sourceOf(hostId)) ?? (await store.eventSources.position(sourceOf(hostId)));
      const place: Place = saved === undefined ? {} : JSON.parse(saved);
      for (const { type, timeMicros } of await store.events.lastOf(hostId, LAST_ROWS)) {
        if (isDockers(type)) place.sinceMicros = timeMicros;
      }
      return place;
    } finally {
      resolve();
    }
  }

  /** Resolves once all are written, however long that takes. @throws the signal's reason */
  async #write(hostId: string, events: readonly HostEvent[], signal: AbortSignal): Promise<void> {
    const { directory, clock, log, eventLog } = this.#deps;
    const host = await directory.find(hostId);
    let left: NewEvent[] = events.flatMap((event) => fromAgent(event, { hostId, host: host?.name }) ?? []);
    for (let forged = events.length - left.length; forged > 0; forged--) {
      this.#lastForger = hostId;
      this.#forged.add();
    }
    while (left.length > 0) {
      const failed: NewEvent[] = [];
      const results = await eventLog.add(left).catch((error: unknown) => left.map(() => rejected(error)));
      for (const [index, event] of left.entries()) if (results[index]?.status === 'rejected') failed.push(event);
      left = failed;
      if (left.length === 0) return;
      log.warn({ hostId, events: left.length }, 'events of a host could not be written; trying again');
      await sleep(RETRY_MIN_MS, clock, signal);
    }
  }

  #moveOn(hostId: string, place: Place, { feed, last, events }: Reply<typeof hostEvents>): void {
    const lastOfDocker = events.findLast(({ type }) => isDockers(type));
    if (lastOfDocker !== undefined) place.sinceMicros = markOf(lastOfDocker).timeMicros;
    Object.assign(place, { feed, after: last });
    this.#unsaved.set(sourceOf(hostId), JSON.stringify(place));
  }

  #save(): void {
    const places = [...this.#unsaved];
    this.#unsaved.clear();
    this.#saving = this.#saving.then(async () => {
      for (let at = 0; at < places.length; at += MAX_SOURCE_ROWS) {
        await this.#deps.store.eventSources.put(places.slice(at, at + MAX_SOURCE_ROWS)).catch((error: unknown) => {
          // What was written tells where to go on, too.
          this.#deps.log.warn({ err: error }, 'how far events of hosts were taken was not saved');
        });
      }
    });
  }
}

/** Under what a host's place is kept. */
export function sourceOf(hostId: string): string {
  return `host:${hostId}`;
}

function rejected(reason: unknown): PromiseRejectedResult {
  return { status: 'rejected', reason };
}
