/** Keeps in the store when each host was last seen, so that a restart knows it. */
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { SeenHost } from '../store/hosts.ts';
import type { Store } from '../store/store.ts';
import type { HostLink } from './host-link.ts';
import type { HostRegistry } from './registry.ts';

/** How much of a host's last sign of life a crash may lose. */
const SAVE_INTERVAL_MS = 60_000;
/** Hosts of one statement: thousands at once would hold up all else for a second. */
const SAVES_PER_TURN = 50;

export interface PresenceDeps {
  readonly store: Store;
  readonly registry: HostRegistry;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Saves when a host comes or goes, together with all that do in the same turn of the loop, and every minute while it is there. */
export class Presence {
  readonly #deps: PresenceDeps;
  readonly #unsubscribe: () => void;
  readonly #timer: Timer;
  /** Saves under way, so that `close` can wait for them. */
  readonly #saving = new Set<Promise<void>>();
  /** What is to be saved, by host: the latest of each. */
  readonly #due = new Map<string, SeenHost>();
  /** The turn that saves the next of them. */
  #turn: NodeJS.Immediate | undefined;

  constructor(deps: PresenceDeps) {
    this.#deps = deps;
    this.#unsubscribe = deps.registry.subscribe({
      online: (link) => this.#save(link),
      offline: (link, cause) => {
        deps.log.info({ hostId: link.hostId, code: cause.code, reason: cause.message }, 'host offline');
        this.#save(link);
      },
    });
    this.#timer = deps.clock.setInterval(() => {
      for (const link of deps.registry.links()) this.#save(link);
    }, SAVE_INTERVAL_MS);
  }

  /** Saves what is due, and waits for it. Idempotent. */
  async close(): Promise<void> {
    this.#unsubscribe();
    this.#timer.cancel();
    clearImmediate(this.#turn);
    while (this.#due.size > 0) this.#saveSome();
    await Promise.all(this.#saving);
  }

  #save(link: HostLink): void {
    const { os, arch, hostname, agentVersion, lastSeenAt } = link.describe();
    this.#due.set(link.hostId, { id: link.hostId, at: lastSeenAt, os, arch, hostname, agentVersion });
    this.#turn ??= setImmediate(() => this.#nextTurn());
  }

  #nextTurn(): void {
    this.#saveSome();
    this.#turn = this.#due.size > 0 ? setImmediate(() => this.#nextTurn()) : undefined;
  }

  #saveSome(): void {
    const seen = this.#due.values().take(SAVES_PER_TURN).toArray();
    for (const { id } of seen) this.#due.delete(id);
    const save = this.#deps.store.hosts
      .markSeen(seen)
      .catch((err: unknown) => {
        this.#deps.log.error({ err, hostIds: seen.map(({ id }) => id) }, 'presence was not saved');
      })
      .finally(() => this.#saving.delete(save));
    this.#saving.add(save);
  }
}
