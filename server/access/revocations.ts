/** Tells those who hold something open for a credential that it counts no longer. */
import type { BaseLogger } from 'pino';

export class Revocations {
  readonly #log: Pick<BaseLogger, 'error'>;
  readonly #listeners = new Set<(tokenId: string) => void>();

  constructor(log: Pick<BaseLogger, 'error'>) {
    this.#log = log;
  }

  /** Calls `listener` with the token id of each principal whose credential ends. @returns a function that stops it. */
  onRevoked(listener: (tokenId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  announce(tokenId: string): void {
    for (const listener of this.#listeners) {
      try {
        listener(tokenId);
      } catch (error) {
        this.#log.error({ err: error, tokenId }, 'a listener failed for a credential that ended');
      }
    }
  }
}
