/**
 * Brings events to one webhook: in their order, by its own place in the log, each batch again until it is taken. What is
 * dropped by age before that is told as a gap.
 */
import { setImmediate } from 'node:timers/promises';
import type { BaseLogger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { toWireError } from '../../shared/errors.ts';
import { Delivery } from '../delivery.ts';
import type { SignedPost } from '../signed-post.ts';
import type { Store } from '../store/store.ts';
import type { WebhookProgress, WebhookRow } from '../store/webhooks.ts';
import type { EventLog } from './event-log.ts';
import { eventView, gapEvent, type ToldEvent } from './event-view.ts';
import { missingBehind } from './follow.ts';
import type { EventMatcher } from './matcher.ts';

const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 5 * 60_000;
/** Events that come soon after one another go together. */
const GATHER_MS = 100;
/** Events that were passed over since the place was last saved: so many are looked at once more after a crash. */
const SAVE_EVERY = 1_000;
/** From then on a webhook counts as failing, and is logged as often. */
export const FAILING_MS = 60_000;
const MAX_ERROR_CHARS = 300;

export interface WebhookDeliveryDeps {
  readonly row: WebhookRow;
  readonly post: SignedPost;
  readonly matcher: EventMatcher;
  readonly eventLog: EventLog;
  readonly store: Pick<Store, 'webhooks'>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Pick<BaseLogger, 'warn' | 'info'>;
}

export class WebhookDelivery {
  readonly #deps: WebhookDeliveryDeps;
  readonly #delivery: Delivery;
  readonly #closing = new AbortController();
  #progress: WebhookProgress;
  #savedPosition: number;
  #loggedAt = Number.NEGATIVE_INFINITY;
  #gathering: Timer | undefined;

  constructor(deps: WebhookDeliveryDeps) {
    this.#deps = deps;
    const { clock, random, row } = deps;
    const { position, deliveredAt, failingSince, failures, error } = row;
    this.#progress = { position, deliveredAt, failingSince, failures, error };
    this.#savedPosition = position;
    this.#delivery = new Delivery({
      ...{ clock, random, retryMinMs: RETRY_MIN_MS, retryMaxMs: RETRY_MAX_MS },
      step: (signal) => this.#step(signal),
      onFailure: (cause) => this.#fail(cause),
    });
    void this.#listen();
  }

  get progress(): WebhookProgress {
    return this.#progress;
  }

  /** Sends one event that never happened. @throws FairleadError with why it was not taken */
  async test(): Promise<void> {
    const { clock, post, row } = this.#deps;
    const event = eventView({ id: 0, timeMicros: clock.now() * 1000, type: 'webhook.test', attributes: '{}' });
    await post.send(bodyOf(row.id, [event]), headersOf(row.id, [event]), this.#closing.signal);
  }

  /** Gives up what is under way; it is brought again at the next start. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the webhook ends'));
    this.#gathering?.cancel();
    await this.#delivery.close();
    this.#deps.post.close();
  }

  /** Saves how far it has come. @throws FairleadError STORE_FULL, STORE_UNAVAILABLE */
  async save(): Promise<void> {
    this.#savedPosition = this.#progress.position;
    await this.#deps.store.webhooks.note(this.#deps.row.id, this.#progress);
  }

  /** Wakes the delivery whenever there is something new. Never rejects. */
  async #listen(): Promise<void> {
    const { eventLog, clock } = this.#deps;
    const { signal } = this.#closing;
    let seen = this.#progress.position;
    while (!signal.aborted) {
      await eventLog.news(seen, Number.MAX_SAFE_INTEGER, signal).catch(() => undefined); // it was closed
      seen = eventLog.last;
      this.#gathering ??= clock.setTimeout(() => {
        this.#gathering = undefined;
        this.#delivery.wake();
      }, GATHER_MS);
    }
  }

  /** @returns whether there is more behind it */
  async #step(signal: AbortSignal): Promise<boolean> {
    const { eventLog, matcher, clock } = this.#deps;
    const { position } = this.#progress;
    const missing = missingBehind(position, eventLog);
    if (missing !== undefined) {
      const upTo = missing.reason === 'rewound' ? eventLog.last : missing.to;
      await this.#send([eventView(gapEvent(upTo, missing, clock.now()))], upTo, signal);
      return true;
    }
    const { rows, upTo } = await eventLog.read(position, matcher.filter);
    // Dropped while they were read.
    if (missingBehind(position, eventLog) !== undefined) return true;
    const events = (await matcher.matching(rows)).map(eventView);
    if (events.length > 0) await this.#send(events, upTo, signal);
    else await this.#passOver(upTo);
    return upTo < eventLog.last;
  }

  async #send(events: readonly ToldEvent[], upTo: number, signal: AbortSignal): Promise<void> {
    const { post, row, clock, log } = this.#deps;
    await post.send(bodyOf(row.id, events), headersOf(row.id, events), signal);
    if (this.#progress.failingSince !== undefined) log.info({ webhook: row.id }, 'a webhook takes events again');
    this.#progress = {
      position: upTo,
      deliveredAt: clock.now(),
      failingSince: undefined,
      failures: 0,
      error: undefined,
    };
    await this.save();
  }

  async #passOver(upTo: number): Promise<void> {
    this.#progress = { ...this.#progress, position: upTo };
    if (upTo - this.#savedPosition >= SAVE_EVERY) await this.save();
    await setImmediate();
  }

  async #fail(cause: unknown): Promise<void> {
    const { clock, log, row, store } = this.#deps;
    const now = clock.now();
    const error = toWireError(cause).message.slice(0, MAX_ERROR_CHARS);
    const { failingSince = now, failures } = this.#progress;
    this.#progress = { ...this.#progress, failingSince, failures: failures + 1, error };
    // If it is the store that fails, that is what is seen here, too.
    await store.webhooks.note(row.id, this.#progress).catch(() => undefined);
    if (clock.monotonic() - this.#loggedAt < FAILING_MS) return;
    this.#loggedAt = clock.monotonic();
    log.warn(
      { webhook: row.id, failures: failures + 1, reason: error },
      'a webhook does not take events; trying again',
    );
  }
}

function bodyOf(webhook: string, events: readonly ToldEvent[]): string {
  return JSON.stringify({ webhook, events });
}

function headersOf(webhook: string, events: readonly ToldEvent[]): Record<string, string | number> {
  return {
    'content-type': 'application/json',
    'fairlead-webhook': webhook,
    'fairlead-event-first': events[0]?.id ?? 0,
    'fairlead-event-last': events.at(-1)?.id ?? 0,
  };
}
