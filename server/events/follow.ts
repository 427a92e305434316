/** Follows the log of events from a place in it, at the reader's own pace: what is behind is read from the store. */
import { setImmediate } from 'node:timers/promises';
import type { EventRow } from '../store/events.ts';
import type { EventLog } from './event-log.ts';
import type { EventMatcher } from './matcher.ts';

/** Events that are not there (any more), by their ids. */
export interface MissingEvents {
  /** They were dropped by age or number; or the log is another one, of before, as after a restore. */
  readonly reason: 'retention' | 'rewound';
  readonly from: number;
  readonly to: number;
}

/** Some events that fit, in order; often none, so that a place far ahead is known, too. */
export interface Followed {
  readonly rows: readonly EventRow[];
  readonly missing?: MissingEvents;
  /** The id up to which nothing is left to be told. */
  readonly upTo: number;
}

export interface FollowOptions {
  readonly log: EventLog;
  readonly matcher: EventMatcher;
  /** The id of the last event that the reader has. */
  readonly after: number;
  /** After how long without an event to say that there is none, in ms. */
  readonly idleMs: number;
  readonly signal: AbortSignal;
}

/** Never ends. @throws the signal's reason; FairleadError STORE_UNAVAILABLE */
export async function* followEvents({ log, matcher, after, idleMs, signal }: FollowOptions): AsyncGenerator<Followed> {
  let at = after;
  for (;;) {
    const missing = missingBehind(at, log);
    if (missing !== undefined) {
      at = missing.reason === 'rewound' ? log.last : missing.to;
      yield { rows: [], missing, upTo: at };
    }
    if (at >= log.last) {
      await log.news(at, idleMs, signal);
      if (at >= log.last) yield { rows: [], upTo: at };
      continue;
    }
    signal.throwIfAborted();
    const { rows, upTo } = await log.read(at, matcher.filter);
    // Dropped while it was read: told of in the next round.
    if (missingBehind(at, log) !== undefined) continue;
    at = upTo;
    const matching = await matcher.matching(rows);
    if (matching.length > 0) yield { rows: matching, upTo: at };
    else await setImmediate();
  }
}

/** What is missing behind the event `at`, if something is. */
export function missingBehind(at: number, { first, last }: EventLog): MissingEvents | undefined {
  if (at > last) return { reason: 'rewound', from: last + 1, to: at };
  return at < first - 1 ? { reason: 'retention', from: at + 1, to: first - 1 } : undefined;
}
