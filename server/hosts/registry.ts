/** Which hosts are connected right now: at most one link per host, the newest wins. */
import type { FairleadError } from '../../shared/errors.ts';
import type { HostLink } from './host-link.ts';

export interface RegistryEvents {
  online(link: HostLink): void;
  /** The host's link is gone and no newer one took its place. */
  offline(link: HostLink, cause: FairleadError): void;
  /** A newer link took over while the older one still counted as alive. */
  replaced(older: HostLink, newer: HostLink): void;
}

export class HostRegistry {
  readonly #links = new Map<string, HostLink>();
  readonly #listeners = new Set<Partial<RegistryEvents>>();

  /** Calls `listener` from now on. @returns a function that stops it. */
  subscribe(listener: Partial<RegistryEvents>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Makes `link` its host's link. An older one is closed at once, so that a half-open session never locks its host out. */
  attach(link: HostLink): void {
    const older = this.#links.get(link.hostId);
    this.#links.set(link.hostId, link);
    if (older !== undefined) {
      this.#emit('replaced', older, link);
      older.close('REPLACED', 'a newer session of this host took over');
    }
    this.#emit('online', link);
    void link.closed.then((cause) => {
      if (this.#links.get(link.hostId) !== link) return;
      this.#links.delete(link.hostId);
      this.#emit('offline', link, cause);
    });
  }

  /** The link of a host, undefined while it is offline. */
  link(hostId: string): HostLink | undefined {
    return this.#links.get(hostId);
  }

  /** All links; do not attach while iterating. */
  links(): IterableIterator<HostLink> {
    return this.#links.values();
  }

  get size(): number {
    return this.#links.size;
  }

  #emit<E extends keyof RegistryEvents>(event: E, ...args: Parameters<RegistryEvents[E]>): void {
    for (const listener of this.#listeners) {
      (listener[event] as ((...args: Parameters<RegistryEvents[E]>) => void) | undefined)?.(...args);
    }
  }
}
