/** Lets what a client follows outlast the absence of its host, or of the Docker there, for a while. */
import type { FastifyRequest } from 'fastify';
import { Backoff } from '../../shared/backoff.ts';
import type { Clock } from '../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { sleep } from '../../shared/sleep.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostLinks } from './host-links.ts';
import { COMEBACK_MS } from './limits.ts';

/** What ends a stream that was open: the end of its session, or a Docker that stopped, was killed, or starts anew. */
const INTERRUPTIONS: ReadonlySet<ErrorCode> = new Set([
  'STREAM_INTERRUPTED',
  'SHUTDOWN',
  'REPLACED',
  'DOCKER_UNREACHABLE',
]);
/** What a host that has just come back may answer for a moment: it has much to do. */
const NOT_YET: ReadonlySet<ErrorCode> = new Set([...INTERRUPTIONS, 'HOST_OFFLINE', 'TIMEOUT', 'OVERLOADED']);
/** Those who wait for one host do not come back in the same moment. */
const BACKOFF = { minMs: 200, maxMs: 5_000 };
/** What lived so long was no failed attempt. */
const SETTLED_MS = 10_000;

export interface ComebackOptions {
  readonly links: HostLinks;
  readonly clock: Clock;
  readonly request: FastifyRequest;
  readonly hostId: string;
  /** Fires when nobody waits any more. */
  readonly signal: AbortSignal;
}

/** The absences of one host, as one stream of one client meets them. */
export class HostComeback {
  readonly #options: ComebackOptions;
  readonly #backoff = new Backoff({ ...BACKOFF, random: Math.random });
  /** When it must be back, by the monotonic clock. */
  #deadline: number | undefined;

  constructor(options: ComebackOptions) {
    this.#options = options;
  }

  /** Waits as `link` does, and opens again, until that succeeds. @throws what `link` throws */
  async reopen<T>(error: unknown, livedMs: number, open: (link: HostLink) => Promise<T>): Promise<T> {
    let [cause, lived] = [error, livedMs];
    for (;;) {
      const link = await this.link(cause, lived);
      try {
        return await open(link);
      } catch (failure) {
        [cause, lived] = [failure, 0];
      }
    }
  }

  /**
   * The host's link, once it is worth to try again.
   * @param error what ended the stream, or what opening it again failed with
   * @param livedMs how long the stream had been open; 0 for an attempt that failed
   * @throws `error` if that is no interruption; FairleadError HOST_OFFLINE when the host stays away or is revoked,
   *   DOCKER_UNREACHABLE when its Docker does, HOST_NOT_FOUND; the signal's reason
   */
  async link(error: unknown, livedMs: number): Promise<HostLink> {
    const { links, clock, request, hostId, signal } = this.#options;
    signal.throwIfAborted();
    if (livedMs > SETTLED_MS) {
      this.#deadline = undefined;
      this.#backoff.reset();
    }
    const codes = this.#deadline === undefined ? INTERRUPTIONS : NOT_YET;
    if (!isFairleadError(error) || !codes.has(error.code)) throw error;
    this.#deadline ??= clock.monotonic() + COMEBACK_MS;
    await sleep(this.#backoff.next(), clock, signal);
    const late = new AbortController();
    const timer = clock.setTimeout(() => late.abort(staysAway()), this.#deadline - clock.monotonic());
    try {
      if (clock.monotonic() >= this.#deadline) throw error.code === 'DOCKER_UNREACHABLE' ? error : staysAway();
      return await links.onReturn(request, hostId, AbortSignal.any([signal, late.signal]));
    } finally {
      timer.cancel();
    }
  }
}

function staysAway(): FairleadError {
  return new FairleadError('HOST_OFFLINE', `the host did not come back within ${COMEBACK_MS / 60_000} minutes`);
}
