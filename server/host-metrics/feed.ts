/** Asks every connected host that serves it for samples, for as long as it is connected. */
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
/** Before a host is asked again that gave none: this at first, doubling. */
const RETRY_MIN_MS = 5_000;
const RETRY_MAX_MS = 600_000;
/** Time for one sample. */
const ANSWER_MS = 15_000;

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
  /** Of each link that is asked. */
  readonly #endings = new Set<AbortController>();

  constructor(deps: FeedDeps) {
    this.#deps = deps;
    this.#unsubscribe = deps.registry.subscribe({ online: (link) => this.#begin(link) });
    for (const link of deps.registry.links()) this.#begin(link);
  }

  /** Asks nobody any more. Idempotent. */
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
        await this.#sample(link, signal, () => backoff.reset());
      } catch (error) {
        if (signal.aborted) return;
        const { code, message } = toWireError(error);
        // Its owner has decided, or it is too old: asking again changes nothing.
        if (isFairleadError(error, 'DENIED_BY_HOST') || isFairleadError(error, 'UNSUPPORTED')) return;
        log.warn({ hostId: link.hostId, code, reason: message }, 'a host gave no sample of what it uses');
      }
      waitMs = backoff.nextAtLeastCeiling();
    }
  }

  /** Asks for one sample after the other. @throws what the host fails with */
  async #sample(link: HostLink, signal: AbortSignal, onSample: () => void): Promise<never> {
    const { clock, random, intervalMs, take } = this.#deps;
    let dueAt = clock.monotonic();
    // Hosts that came together do not go on together.
    let stepMs = intervalMs * (0.5 + random() / 2);
    let since: number | undefined;
    for (;;) {
      const params = since === undefined ? {} : { since };
      const { reading, sample } = await link.call(hostMetrics, params, { signal, timeoutMs: ANSWER_MS });
      signal.throwIfAborted();
      since = reading;
      take(link.hostId, sample);
      onSample();
      // What was missed, as by a link that stood still, is not made up for.
      dueAt = Math.max(dueAt + stepMs, clock.monotonic());
      stepMs = intervalMs;
      await sleep(dueAt - clock.monotonic(), clock, signal);
    }
  }
}
