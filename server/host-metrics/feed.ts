/** Has every connected host that serves it send samples, for as long as it is connected. */
import type { Logger } from 'pino';
import { Backoff } from '../../shared/backoff.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { type HostSample, hostMetrics } from '../../shared/messages/metrics.ts';
import { sleep } from '../../shared/sleep.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';

/** Hosts that come together do not begin together: each waits up to this. */
const SPREAD_MS = 1_000;
/** Before a host is asked again that ended its samples: this at first, doubling. */
const RETRY_MIN_MS = 5_000;
const RETRY_MAX_MS = 600_000;
/** A sample that comes sooner after the last one than this part of the interval is not taken. */
const SOONEST = 0.4;
/** So many of those in a row, and the host is not keeping to what it was asked for. */
const MAX_TOO_SOON = 100;

export interface FeedDeps {
  readonly registry: Pick<HostRegistry, 'subscribe' | 'links'>;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** From one sample of a host to the next. */
  readonly intervalMs: number;
  take(hostId: string, sample: HostSample): void;
}

export class MetricsFeed {
  readonly #deps: FeedDeps;
  readonly #unsubscribe: () => void;
  /** Of each link whose samples are followed. */
  readonly #endings = new Set<AbortController>();

  constructor(deps: FeedDeps) {
    this.#deps = deps;
    this.#unsubscribe = deps.registry.subscribe({ online: (link) => this.#begin(link) });
    for (const link of deps.registry.links()) this.#begin(link);
  }

  /** Ends all. Idempotent. */
  close(): void {
    this.#unsubscribe();
    for (const ending of this.#endings) ending.abort(new FairleadError('SHUTDOWN', 'the server is shutting down'));
  }

  #begin(link: HostLink): void {
    if (!link.describe().capabilities.includes(hostMetrics.name)) return;
    const ending = new AbortController();
    this.#endings.add(ending);
    void link.closed.then((cause) => ending.abort(cause));
    void this.#follow(link, ending.signal).finally(() => this.#endings.delete(ending));
  }

  /** Never rejects. */
  async #follow(link: HostLink, signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#deps;
    const backoff = new Backoff({ minMs: RETRY_MIN_MS, maxMs: RETRY_MAX_MS, random });
    let waitMs = random() * SPREAD_MS;
    for (;;) {
      try {
        await sleep(waitMs, clock, signal);
        await this.#read(link, signal, () => backoff.reset());
      } catch (error) {
        if (signal.aborted) return;
        const { code, message } = toWireError(error);
        // Its owner has decided, or it is too old: asking again changes nothing.
        if (isFairleadError(error, 'DENIED_BY_HOST') || isFairleadError(error, 'UNSUPPORTED')) return;
        log.warn({ hostId: link.hostId, code, reason: message }, 'the metrics of a host ended');
      }
      waitMs = backoff.nextAtLeastCeiling();
    }
  }

  async #read(link: HostLink, signal: AbortSignal, onSample: () => void): Promise<void> {
    const { clock, random, intervalMs, take } = this.#deps;
    const secondAfterMs = Math.round(intervalMs * (0.5 + random() / 2));
    const stream = await link.open(hostMetrics, { intervalMs, secondAfterMs }, { signal });
    let takenAt = Number.NEGATIVE_INFINITY;
    let tooSoon = 0;
    for await (const sample of stream.items()) {
      signal.throwIfAborted();
      const now = clock.monotonic();
      if (now - takenAt >= intervalMs * SOONEST) {
        takenAt = now;
        tooSoon = 0;
        take(link.hostId, sample);
        onSample();
      } else if (++tooSoon > MAX_TOO_SOON) {
        const error = new FairleadError('OVERLOADED', 'the host sends more samples than it was asked for');
        stream.reset(error);
        throw error;
      }
    }
  }
}
