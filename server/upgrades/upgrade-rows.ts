/** The rows of hosts' upgrades as they are written: of each host one after the other, so that the last one stands. */
import type { Logger } from 'pino';
import type { HostUpgradeRow } from '../store/host-upgrades.ts';
import type { Store } from '../store/store.ts';

export interface UpgradeRowsDeps {
  readonly store: Pick<Store, 'hostUpgrades'>;
  readonly log: Pick<Logger, 'error'>;
}

export class UpgradeRows {
  readonly #deps: UpgradeRowsDeps;
  /** The last write of each host that has not ended. */
  readonly #writing = new Map<string, Promise<void>>();

  constructor(deps: UpgradeRowsDeps) {
    this.#deps = deps;
  }

  /** Returns at once. What cannot be written is logged: a server that restarts hears of it from the host again. */
  put(row: HostUpgradeRow): void {
    const { store, log } = this.#deps;
    const { hostId } = row;
    const before = this.#writing.get(hostId) ?? Promise.resolve();
    const writing: Promise<void> = before
      .then(() => store.hostUpgrades.put(row))
      .catch((error: unknown) => log.error({ err: error, hostId }, 'how far an upgrade is could not be written down'))
      .finally(() => {
        if (this.#writing.get(hostId) === writing) this.#writing.delete(hostId);
      });
    this.#writing.set(hostId, writing);
  }

  /** Resolves once what was put of a host is written. */
  async written(hostId: string): Promise<void> {
    await this.#writing.get(hostId);
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await Promise.all(this.#writing.values());
  }
}
