/** What the routes need of the log of events. */
import type { HostScope } from '../../access/scope.ts';
import type { Maybe, Page, Paged } from './rows.ts';

export interface EventRecord {
  readonly id: number;
  /** When it happened, µs since 1970, by the clock of whoever noticed it. */
  readonly timeMicros: number;
  readonly hostId?: Maybe<string>;
  /** The host's name at that time. */
  readonly host?: Maybe<string>;
  /** As `container.start`. */
  readonly type: string;
  /** Docker's own word where the type does not say all of it. */
  readonly action?: Maybe<string>;
  /** What it happened to, as the id of a container. */
  readonly subject?: Maybe<string>;
  /** JSON of an object of strings. */
  readonly attributes: string;
}

/** Which events are asked for. Within each list any counts, and all lists do. */
export interface EventQuery {
  readonly scope?: HostScope | undefined;
  /** Ids. */
  readonly hosts?: readonly string[] | undefined;
  readonly tags?: readonly string[] | undefined;
  /** As `container.start`, `container` or `container.*`. */
  readonly types?: readonly string[] | undefined;
  /** µs since 1970: at this time or later, and before this time. */
  readonly sinceMicros?: number | undefined;
  readonly untilMicros?: number | undefined;
}

/** Some events in order, or none where there is only a place to tell of. */
export interface FollowedEvents {
  readonly rows: readonly EventRecord[];
  /** Events that are not there (any more), by their ids. */
  readonly missing?: { readonly reason: string; readonly from: number; readonly to: number };
  /** The id up to which nothing is left to be told. */
  readonly upTo: number;
}

export interface EventsService {
  /** The id of the last event. */
  readonly last: number;
  /** Newest first. */
  list(page: Page, query: EventQuery): Promise<Paged<EventRecord>>;
  /** Never ends. @throws the signal's reason; FairleadError STORE_UNAVAILABLE */
  follow(
    query: EventQuery,
    following: {
      /** The id of the last event that the reader has; those that come from now on, if absent. */
      readonly after?: number | undefined;
      readonly idleMs: number;
      readonly signal: AbortSignal;
    },
  ): AsyncIterable<FollowedEvents>;
}
