/** Who waits for a host that is away is woken when it comes back, and when it will not. */
import type { HostRegistry } from './registry.ts';

export class HostReturns {
  /** By host: only of hosts that somebody waits for. */
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(registry: Pick<HostRegistry, 'subscribe'>) {
    registry.subscribe({ online: ({ hostId }) => this.wake(hostId) });
  }

  /** Makes all who wait for the host look again. */
  wake(hostId: string): void {
    for (const look of this.#waiting.get(hostId) ?? []) look();
  }

  /**
   * Calls `look` now and whenever something may have become of the host, until it finds something.
   * @throws what `look` throws; the signal's reason
   */
  async find<T>(hostId: string, look: () => Promise<T | undefined>, signal: AbortSignal): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      // From before the look, so that nothing is missed that happens while it goes on.
      const waiting = this.#waiting.get(hostId) ?? new Set();
      this.#waiting.set(hostId, waiting.add(resolve));
      const onAbort = () => resolve();
      signal.addEventListener('abort', onAbort);
      try {
        const found = await look();
        if (found !== undefined) return found;
        await promise;
      } finally {
        signal.removeEventListener('abort', onAbort);
        waiting.delete(resolve);
        if (waiting.size === 0 && this.#waiting.get(hostId) === waiting) this.#waiting.delete(hostId);
      }
    }
  }
}
