/** Keeps in the store when each host was last seen, so that a restart knows it. */
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Store } from '../store/store.ts';
import type { HostLink } from './host-link.ts';
import type { HostRegistry } from './registry.ts';

/** How much of a host's last sign of life a crash may lose. */
const SAVE_INTERVAL_MS = 60_000;
/** Each takes a tenth of a millisecond of the loop. */
const SAVES_PER_TURN = 50;

export interface PresenceDeps {
  readonly store: Store;
  readonly registry: HostRegistry;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Saves at once when a host comes or goes, and every minute while it is there. */
export class Presence {
  readonly #deps: PresenceDeps;
  readonly #unsubscribe: () => void;
  readonly #timer: Timer;
  /** Saves under way, so that `close` can wait for them. */
  readonly #saving = new Set<Promise<void>>();
  /** The turn that goes on with the save of every minute. */
  #rest: NodeJS.Immediate | undefined;

  constructor(deps: PresenceDeps) {
    this.#deps = deps;
    this.#unsubscribe = deps.registry.subscribe({
      online: (link) => this.#save(link, true),
      offline: (link, cause) => {
        deps.log.info({ hostId: link.hostId, code: cause.code, reason: cause.message }, 'host offline');
        this.#save(link, false);
      },
    });
    this.#timer = deps.clock.setInterval(() => this.#saveAll([...deps.registry.links()]), SAVE_INTERVAL_MS);
  }

  /** Stops and waits for the saves under way. Idempotent. */
  async close(): Promise<void> {
    this.#unsubscribe();
    this.#timer.cancel();
    clearImmediate(this.#rest);
    await Promise.all(this.#saving);
  }

  /** Saves from `start` on, a few in each turn of the loop: thousands at once would hold up all else for a second. */
  #saveAll(links: readonly HostLink[], start = 0): void {
    const end = start + SAVES_PER_TURN;
    for (const link of links.slice(start, end)) {
      if (this.#deps.registry.link(link.hostId) === link) this.#save(link, false);
    }
    if (end < links.length) this.#rest = setImmediate(() => this.#saveAll(links, end));
  }

  #save(link: HostLink, withFacts: boolean): void {
    const { os, arch, hostname, agentVersion, lastSeenAt } = link.describe();
    const facts = withFacts ? { os, arch, hostname, agentVersion } : undefined;
    const save = this.#deps.store.hosts
      .markSeen(link.hostId, lastSeenAt, facts)
      .catch((error: unknown) => this.#deps.log.error({ err: error, hostId: link.hostId }, 'presence was not saved'))
      .finally(() => this.#saving.delete(save));
    this.#saving.add(save);
  }
}
