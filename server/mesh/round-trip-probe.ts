/** Keeps a session's round trip known although the server may send it nothing for days: a ping a minute, on heartbeats. */
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { isFairleadError } from '../../shared/errors.ts';
import type { HostLink } from '../hosts/host-link.ts';

/** How old the last round trip may be. The first heartbeat follows the welcome at once. */
const PROBE_INTERVAL_MS = 60_000;

export class RoundTripProbe {
  readonly #deps: { readonly clock: Clock; readonly log: Logger };
  readonly #hostId: string;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(deps: { readonly clock: Clock; readonly log: Logger }, hostId: string) {
    this.#deps = deps;
    this.#hostId = hostId;
  }

  /** Pings if it is time to. A ping that fails ends nothing: whether the session lives, its silence decides. */
  beat(link: Pick<HostLink, 'ping'>): void {
    const now = this.#deps.clock.monotonic();
    if (now - this.#lastAt < PROBE_INTERVAL_MS) return;
    this.#lastAt = now;
    link.ping().catch((error: unknown) => this.#failed(error));
  }

  #failed(error: unknown): void {
    const { log } = this.#deps;
    const isTold = isFairleadError(error, 'STREAM_INTERRUPTED');
    // The end of a session is in the log already.
    if (isTold) log.debug({ err: error, hostId: this.#hostId }, 'a round trip was not measured');
    else log.warn({ err: error, hostId: this.#hostId }, 'a round trip was not measured');
  }
}
