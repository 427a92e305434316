/** Drops events that are too old, or too many, from the oldest on and a slice at a time. */
import { setImmediate } from 'node:timers/promises';
import type { BaseLogger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Store } from '../store/store.ts';
import type { EventLog } from './event-log.ts';

const PASS_MS = 60_000;
/** Events that go in one statement. */
const SLICE_EVENTS = 250;

/** How long events are kept. */
export interface EventPolicy {
  /** In ms; undefined: for ever. */
  readonly keepMs: number | undefined;
  readonly maxEvents: number;
}

export interface EventRetentionDeps extends EventPolicy {
  readonly store: Pick<Store, 'events'>;
  readonly eventLog: EventLog;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error'>;
}

export class EventRetention {
  readonly #deps: EventRetentionDeps;
  readonly #timer: Timer;
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(deps: EventRetentionDeps) {
    this.#deps = deps;
    this.#timer = deps.clock.setInterval(() => void this.pass(), PASS_MS);
  }

  /** Drops all that is to go. Never rejects: a failure is logged, and the next pass tries again. */
  pass(): Promise<void> {
    this.#running ??= this.#pass()
      .catch((error: unknown) => this.#deps.log.error({ err: error }, 'old events were not dropped'))
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer.cancel();
    await this.#running;
  }

  async #pass(): Promise<void> {
    const { store, eventLog, clock, keepMs, maxEvents } = this.#deps;
    const tooMany = eventLog.last - maxEvents;
    const old = keepMs === undefined ? undefined : await store.events.lastBefore(clock.now() - keepMs, eventLog.last);
    const through = Math.max(tooMany, old ?? 0);
    while (!this.#isClosed && eventLog.first <= Math.min(through, eventLog.last - 1)) {
      await eventLog.dropThrough(Math.min(through, eventLog.first + SLICE_EVENTS - 1));
      await setImmediate();
    }
  }
}
