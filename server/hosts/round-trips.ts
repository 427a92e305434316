/** Round trips to a host by ping: one after the other, and what they come to together. */
import type { Clock } from '../../shared/clock.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import type { HostLink } from './host-link.ts';

/** What can be pinged. */
type Pinged = Pick<HostLink, 'ping'>;

export interface RoundTripSummary {
  readonly sent: number;
  readonly received: number;
  /** In ms; absent while none was answered. */
  readonly trips:
    | { readonly minMs: number; readonly avgMs: number; readonly p99Ms: number; readonly maxMs: number }
    | undefined;
}

export class RoundTrips {
  readonly #times: number[] = [];
  #sent = 0;

  /** Counts a ping, and its round trip in ms unless it was not answered. */
  add(ms: number | undefined): void {
    this.#sent += 1;
    if (ms !== undefined) this.#times.push(ms);
  }

  get summary(): RoundTripSummary {
    const times = this.#times.toSorted((a, b) => a - b);
    const [minMs] = times;
    const maxMs = times.at(-1);
    const p99Ms = times[Math.ceil(times.length * 0.99) - 1];
    const counts = { sent: this.#sent, received: times.length };
    if (minMs === undefined || maxMs === undefined || p99Ms === undefined) return { ...counts, trips: undefined };
    const avgMs = times.reduce((sum, ms) => sum + ms, 0) / times.length;
    return { ...counts, trips: { minMs, avgMs, p99Ms, maxMs } };
  }
}

export interface PingPlan {
  readonly count: number;
  /** From one ping to the next, unless the answer takes longer. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/**
 * Pings `count` times, never with two on their way. Yields each round trip in ms, undefined for a ping that was not answered
 * in time. @throws what else pings fail with, and the signal's reason
 */
export async function* roundTrips(
  link: Pinged,
  { count, intervalMs, timeoutMs }: PingPlan,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<number | undefined> {
  for (let i = 0; i < count; i++) {
    const startedAt = clock.monotonic();
    yield await roundTrip(link, timeoutMs, signal);
    const left = startedAt + intervalMs - clock.monotonic();
    if (i < count - 1 && left > 0) await sleep(left, clock, signal);
  }
}

/** One ping, left at once when `signal` fires. */
async function roundTrip(link: Pinged, timeoutMs: number, signal: AbortSignal): Promise<number | undefined> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([link.ping({ timeoutMs }), aborted.promise]);
  } catch (error) {
    if (isFairleadError(error, 'TIMEOUT') && !signal.aborted) return undefined;
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
