/** The names and tags of hosts, for what is decided about each event: asked of the store once, and anew after each change. */
import { keepRecent } from '../keep-recent.ts';
import type { Store } from '../store/store.ts';

/** Hosts that are remembered, those that were asked for last. */
const MAX_HOSTS = 20_000;

export interface KnownHost {
  readonly name: string;
  readonly tags: readonly string[];
}

export interface HostDirectoryDeps {
  readonly store: { readonly hosts: Pick<Store['hosts'], 'find'> };
  /** Tells of each change of a host's name or tags, in the turn in which it counts. */
  readonly hosts: { onScopeChange(listener: (hostId: string) => void): () => void };
}

export class HostDirectory {
  readonly #deps: HostDirectoryDeps;
  /** Undefined of those that are not there (any more). */
  readonly #known = new Map<string, KnownHost | undefined>();
  /** Counts the changes: what was read before one does not count after it. */
  #changes = 0;
  readonly #stop: () => void;

  constructor(deps: HostDirectoryDeps) {
    this.#deps = deps;
    this.#stop = deps.hosts.onScopeChange((hostId) => {
      this.#changes += 1;
      this.#known.delete(hostId);
    });
  }

  /** Whether `peek` can tell of the host. */
  has(hostId: string): boolean {
    return this.#known.has(hostId);
  }

  /** What is known of the host without asking; undefined, too, if there is none. */
  peek(hostId: string): KnownHost | undefined {
    return this.#known.get(hostId);
  }

  /** Undefined if there is no such host (any more). @throws FairleadError STORE_UNAVAILABLE */
  async find(hostId: string): Promise<KnownHost | undefined> {
    while (!this.#known.has(hostId)) {
      const before = this.#changes;
      const host = await this.#deps.store.hosts.find(hostId);
      if (before !== this.#changes) continue;
      keepRecent(this.#known, hostId, host && { name: host.name, tags: host.tags }, MAX_HOSTS);
    }
    return this.#known.get(hostId);
  }

  close(): void {
    this.#stop();
  }
}
