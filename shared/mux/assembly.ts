/** Puts one message together from its fragments, in a buffer that never exceeds twice what has arrived. */
const FIRST_BYTES = 4 * 1024;

export class Assembly {
  readonly type: number;
  #buffer: Buffer = Buffer.alloc(0);
  #bytes = 0;
  /** Credit that is kept back because a whole item still waits to be taken. */
  heldCredit = 0;

  constructor(type: number) {
    this.type = type;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Copies a fragment in: a list of tiny ones would take many times their bytes. */
  add(fragment: Uint8Array): void {
    const needed = this.#bytes + fragment.byteLength;
    if (needed > this.#buffer.byteLength) {
      const larger = Buffer.allocUnsafeSlow(Math.max(FIRST_BYTES, 2 * this.#buffer.byteLength, needed));
      larger.set(this.#buffer.subarray(0, this.#bytes));
      this.#buffer = larger;
    }
    this.#buffer.set(fragment, this.#bytes);
    this.#bytes = needed;
  }

  /** The message, as a view. */
  whole(): Uint8Array {
    return this.#buffer.subarray(0, this.#bytes);
  }
}
