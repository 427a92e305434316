/** Hands values on one by one: whoever gives one waits until it is taken. */
export class Handoff<T> {
  #given: { readonly value: T; readonly taken: () => void } | undefined;
  #news = Promise.withResolvers<void>();
  #isOver = false;

  /** Resolves once the value is taken, or nobody takes any more. One at a time. */
  async give(value: T): Promise<void> {
    if (this.#isOver) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#given = { value, taken: resolve };
    this.#news.resolve();
    await promise;
  }

  /** Nothing is given or taken from now on. Idempotent. */
  end(): void {
    this.#isOver = true;
    this.#given?.taken();
    this.#given = undefined;
    this.#news.resolve();
  }

  /** What is given, to its end. To be iterated once. */
  async *values(): AsyncGenerator<T> {
    try {
      while (!this.#isOver) {
        await this.#news.promise;
        this.#news = Promise.withResolvers();
        const given = this.#given;
        this.#given = undefined;
        if (given === undefined) continue;
        given.taken();
        yield given.value;
      }
    } finally {
      this.end();
    }
  }
}
