/** Changes whose answer was lost: an agent that was restarted since then does not know that it made them. */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { keepRecent } from '../keep-recent.ts';

/** As long as an agent keeps the outcome of a call; the oldest go first. */
const KEEP_MS = 10 * 60_000;
const MAX_CALLS = 10_000;

/** The last part of kinds that find what they asked for in place when they were done before. */
const SETTLING: ReadonlySet<string> = new Set([
  ...['start', 'stop', 'pause', 'unpause', 'remove', 'rename', 'tag', 'connect', 'disconnect'],
]);

interface LostCall {
  /** The agent's process that was asked. */
  readonly instanceId: string;
  /** By the monotonic clock. */
  readonly at: number;
}

/** The keys of such calls. */
export class LostCalls {
  readonly #clock: Clock;
  readonly #calls = new Map<string, LostCall>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Makes a call that has an idempotency key.
   * @throws FairleadError STREAM_INTERRUPTED if it is a repeat that nobody can know to act once; what `call` fails with
   */
  async make<T>(key: string, kind: StreamKind, link: HostLink, call: () => Promise<T>): Promise<T> {
    const id = `${link.hostId} ${key}`;
    const lost = this.#calls.get(id);
    const isForgotten = lost !== undefined && lost.instanceId !== link.instanceId;
    if (isForgotten && this.#clock.monotonic() - lost.at < KEEP_MS && !isSettling(kind)) {
      const detail = `the agent was restarted since it was sent this ${kind.name}, and no longer knows what became of it`;
      throw new FairleadError('STREAM_INTERRUPTED', detail, { repeat: 'unknown' });
    }
    try {
      return await call();
    } catch (error) {
      if (isFairleadError(error, 'STREAM_INTERRUPTED') || isFairleadError(error, 'TIMEOUT')) {
        const { instanceId } = lost ?? link;
        keepRecent(this.#calls, id, { instanceId, at: this.#clock.monotonic() }, MAX_CALLS);
      }
      throw error;
    }
  }
}

function isSettling({ name }: StreamKind): boolean {
  return SETTLING.has(name.split('.').at(-1) ?? '');
}
