/** Those who wait for what becomes of a transfer. Each owns its place until it gives it up. */
export class TransferWatchers {
  readonly #byId = new Map<string, Set<() => void>>();

  /** Calls `listener` after each change of the transfer, until the returned function is called. */
  add(id: string, listener: () => void): () => void {
    const watchers = this.#byId.get(id) ?? new Set();
    this.#byId.set(id, watchers);
    watchers.add(listener);
    return () => {
      watchers.delete(listener);
      if (watchers.size === 0) this.#byId.delete(id);
    };
  }

  tell(id: string): void {
    for (const listener of this.#byId.get(id) ?? []) listener();
  }
}
