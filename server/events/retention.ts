/** Drops events that are too old, too many, or together too large, from the oldest on and a slice at a time. */
import { setImmediate } from 'node:timers/promises';
import type { BaseLogger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { Passes } from '../passes.ts';
import type { Store } from '../store/store.ts';
import type { EventLog } from './event-log.ts';

const PASS_MS = 60_000;
/** Events that go in one statement. */
const SLICE_EVENTS = 250;
/** Bytes for each event that may be kept: Docker's own take some 350. Hosts may send such as are much larger. */
const EVENT_BYTES = 512;
const MIN_BYTES = 16 * 1024 * 1024;

/** How long events are kept. */
export interface EventPolicy {
  /** In ms; undefined: for ever. */
  readonly keepMs: number | undefined;
  /** They may take 512 bytes each on average, or 16 MiB together. */
  readonly maxEvents: number;
}

/** Events up to an id, behind those of the slice before. */
interface Slice {
  readonly through: number;
  readonly bytes: number;
}

export interface EventRetentionDeps extends EventPolicy {
  readonly store: Pick<Store, 'events'>;
  readonly eventLog: EventLog;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error'>;
}

export class EventRetention {
  readonly #deps: EventRetentionDeps;
  readonly #passes: Passes;
  /** Of the events that are kept, in their order; without the last few. */
  #slices: Slice[] = [];
  #bytes = 0;
  #measured = 0;

  constructor(deps: EventRetentionDeps) {
    this.#deps = deps;
    const { clock, log } = deps;
    const failure = 'old events were not dropped';
    this.#passes = new Passes({ clock, log, failure, everyMs: PASS_MS, work: () => this.#pass() });
  }

  /** Drops all that is to go. Never rejects: a failure is logged, and the next pass tries again. */
  pass(): Promise<void> {
    return this.#passes.pass();
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#passes.close();
  }

  async #pass(): Promise<void> {
    const { store, eventLog, clock, keepMs, maxEvents } = this.#deps;
    const tooMany = eventLog.last - maxEvents;
    const old = keepMs === undefined ? undefined : await store.events.lastBefore(clock.now() - keepMs, eventLog.last);
    const through = Math.max(tooMany, old ?? 0);
    await this.#dropThrough(through);
    await this.#measure();
    const maxBytes = Math.max(MIN_BYTES, maxEvents * EVENT_BYTES);
    let tooLarge = 0;
    while (this.#bytes > maxBytes) tooLarge = this.#forgetSlice()?.through ?? tooLarge;
    await this.#dropThrough(tooLarge);
  }

  async #dropThrough(through: number): Promise<void> {
    const { eventLog } = this.#deps;
    while (!this.#passes.isClosed && eventLog.first <= Math.min(through, eventLog.last - 1)) {
      await eventLog.dropThrough(Math.min(through, eventLog.first + SLICE_EVENTS - 1));
      await setImmediate();
    }
  }

  /** Looks at what has come since the last pass; the first one looks at all that is there. */
  async #measure(): Promise<void> {
    const { store, eventLog } = this.#deps;
    while ((this.#slices[0]?.through ?? eventLog.first) < eventLog.first) this.#forgetSlice();
    this.#measured = Math.max(this.#measured, eventLog.first - 1);
    while (!this.#passes.isClosed && eventLog.last - this.#measured >= SLICE_EVENTS) {
      const through = this.#measured + SLICE_EVENTS;
      const bytes = await store.events.bytesOf(this.#measured, through);
      this.#slices.push({ through, bytes });
      this.#bytes += bytes;
      this.#measured = through;
      await setImmediate();
    }
  }

  #forgetSlice(): Slice | undefined {
    const slice = this.#slices.shift();
    this.#bytes -= slice?.bytes ?? 0;
    return slice;
  }
}
