/** When to come back after a connection ended. */
import { Backoff } from '../../shared/backoff.ts';
import { RECONNECT_MAX_MS, RECONNECT_MIN_MS, RECONNECT_RESET_MS } from '../../shared/limits.ts';
import type { LinkEnd } from './outcome.ts';

/** After a replacement: at least this, and doubling, so that two agents with one certificate do not take turns for ever. */
const REPLACED_MIN_MS = 5_000;
const REPLACED_MAX_MS = 10 * 60_000;
/** A session this long shows that nobody competes for the host any more. */
const REPLACED_RESET_MS = 60 * 60_000;
/** In quarantine a host waits for a person: it looks in now and then, so that a release brings it back by itself. */
const QUARANTINED_MIN_MS = 15_000;
const QUARANTINED_MAX_MS = 4 * 60_000;
/** A server's wish is honoured up to this. */
const MAX_RETRY_AFTER_MS = 10 * 60_000;

export class RetryDelay {
  readonly #failures: Backoff;
  readonly #replacements: Backoff;
  readonly #quarantines: Backoff;

  /** @param random a number in [0, 1) */
  constructor(random: () => number) {
    this.#failures = new Backoff({ minMs: RECONNECT_MIN_MS, maxMs: RECONNECT_MAX_MS, random });
    this.#replacements = new Backoff({ minMs: REPLACED_MIN_MS, maxMs: REPLACED_MAX_MS, random });
    this.#quarantines = new Backoff({ minMs: QUARANTINED_MIN_MS, maxMs: QUARANTINED_MAX_MS, random });
  }

  /** The delay in ms before the next attempt, after `end`; `upMs`: how long the session had stood, 0 if it never did. */
  next(end: LinkEnd, upMs: number): number {
    if (upMs >= RECONNECT_RESET_MS) {
      this.#failures.reset();
      this.#quarantines.reset();
    }
    if (upMs >= REPLACED_RESET_MS) this.#replacements.reset();
    if (end.code === 'QUARANTINED') return this.#quarantines.nextAtLeastCeiling();
    if (end.code === 'REPLACED') return this.#replacements.nextAtLeastCeiling();
    return Math.min(end.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS) + this.#failures.next();
  }
}
