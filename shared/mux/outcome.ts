/** A value that comes once, later or never; its promise is made only when someone asks, and is never an unhandled rejection. */

type Settled<T> = { readonly value: T } | { readonly error: Error };

export class Outcome<T> {
  #settled: Settled<T> | undefined;
  #waiting: PromiseWithResolvers<T> | undefined;

  get settled(): boolean {
    return this.#settled !== undefined;
  }

  /** The first to settle wins; later calls do nothing. */
  resolve(value: T): void {
    if (this.#settled !== undefined) return;
    this.#settled = { value };
    this.#waiting?.resolve(value);
  }

  /** The first to settle wins; later calls do nothing. */
  reject(error: Error): void {
    if (this.#settled !== undefined) return;
    this.#settled = { error };
    this.#waiting?.reject(error);
  }

  get promise(): Promise<T> {
    if (this.#waiting === undefined) {
      this.#waiting = Promise.withResolvers<T>();
      // Whoever does not wait for it learns of the failure by `closed` or `aborted`: no reason to end the process.
      this.#waiting.promise.catch(() => undefined);
      if (this.#settled !== undefined) {
        if ('error' in this.#settled) this.#waiting.reject(this.#settled.error);
        else this.#waiting.resolve(this.#settled.value);
      }
    }
    return this.#waiting.promise;
  }
}
