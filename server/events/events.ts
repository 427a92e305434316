/** Events of all hosts: taken in, kept for a while, and read by whoever may know of them. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import type { Audit } from '../audit/audit.ts';
import type { Secrets } from '../authority/secrets.ts';
import type { Hosts } from '../hosts/hosts.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { EventRow } from '../store/events.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import { EventLog } from './event-log.ts';
import { type Followed, followEvents } from './follow.ts';
import { HostDirectory } from './host-directory.ts';
import { HostFeeds } from './host-feeds.ts';
import { HostNews, type ServerNews } from './host-news.ts';
import { EventMatcher, type EventQuery } from './matcher.ts';
import { type EventPolicy, EventRetention } from './retention.ts';
import { Webhooks } from './webhooks.ts';

export interface EventsDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly registry: HostRegistry;
  readonly hosts: Pick<Hosts, 'onScopeChange'>;
  readonly policy: EventPolicy;
  /** Seals what webhooks are signed with. */
  readonly secrets: Secrets;
  readonly webhooksLinkLocal: boolean;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

export interface Following {
  /** The id of the last event that the reader has; those that come from now on, if absent. */
  readonly after?: number | undefined;
  /** After how long without an event to say that there is none, in ms. */
  readonly idleMs: number;
  readonly signal: AbortSignal;
}

interface Parts {
  readonly directory: HostDirectory;
  readonly news: HostNews;
  readonly feeds: HostFeeds;
  readonly retention: EventRetention;
  readonly webhooks: Webhooks;
  stopForgetting(): void;
}

export class Events {
  readonly log: EventLog;
  readonly webhooks: Webhooks;
  readonly directory: HostDirectory;
  readonly #parts: Parts;

  /** @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: EventsDeps): Promise<Events> {
    const { store, clock, policy } = deps;
    const eventLog = await EventLog.open(deps);
    const directory = new HostDirectory(deps);
    const news = await HostNews.open({ ...deps, eventLog, directory });
    const feeds = new HostFeeds({ ...deps, eventLog, directory });
    const stopForgetting = deps.hosts.onScopeChange((hostId, tags) => {
      if (tags === undefined) feeds.forget(hostId);
    });
    const retention = new EventRetention({ store, clock, log: deps.log, eventLog, ...policy });
    const webhooks = await Webhooks.open({ ...deps, eventLog, directory, allowsLinkLocal: deps.webhooksLinkLocal });
    return new Events(eventLog, { directory, news, feeds, retention, webhooks, stopForgetting });
  }

  private constructor(eventLog: EventLog, parts: Parts) {
    this.log = eventLog;
    this.directory = parts.directory;
    this.webhooks = parts.webhooks;
    this.#parts = parts;
  }

  /** The id of the last event. */
  get last(): number {
    return this.log.last;
  }

  /** Newest first. */
  async list(page: PageRequest, query: EventQuery): Promise<Page<EventRow>> {
    return await this.log.list(page, new EventMatcher(query, this.directory).filter);
  }

  /** Events as they come; those that are kept of an earlier time first, if one is named. Never ends. @throws the signal's reason */
  follow(query: EventQuery, { after, idleMs, signal }: Following): AsyncGenerator<Followed> {
    const fromTime = query.sinceMicros === undefined ? this.log.last : this.log.first - 1;
    const matcher = new EventMatcher(query, this.directory);
    return followEvents({ log: this.log, matcher, after: after ?? fromTime, idleMs, signal });
  }

  /** Tells of what another part of the server has noticed. Returns at once. */
  tell(news: ServerNews): void {
    this.#parts.news.tell(news);
  }

  /** Asks no host any more; what is there is still written. Idempotent. */
  stopAsking(): void {
    this.#parts.feeds.stop();
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const { feeds, news, retention, directory, webhooks, stopForgetting } = this.#parts;
    stopForgetting();
    await feeds.close();
    await news.close();
    await retention.close();
    await webhooks.close();
    await this.log.drain();
    directory.close();
  }
}
