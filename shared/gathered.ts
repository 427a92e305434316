/**
 * Bytes that come in pieces, copied into one buffer that grows with them. Pieces that are kept as they come take many times
 * their bytes where they are small, and whoever sends them decides how small they are.
 */

const FIRST_BYTES = 1024;

export class Gathered {
  readonly #maxBytes: number;
  #buffer = Buffer.alloc(0);
  #length = 0;

  /** @param maxBytes how much is kept at most */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** How many bytes are kept. */
  get length(): number {
    return this.#length;
  }

  /** Keeps what there is room for. @returns whether that is all of it */
  add(piece: Uint8Array): boolean {
    const part = piece.subarray(0, this.#maxBytes - this.#length);
    const length = this.#length + part.byteLength;
    if (length > this.#buffer.byteLength) this.#grow(length);
    this.#buffer.set(part, this.#length);
    this.#length = length;
    return part.byteLength === piece.byteLength;
  }

  /** What is kept: the buffer itself, good until more is added. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Forgets what is kept. */
  clear(): void {
    this.#buffer = Buffer.alloc(0);
    this.#length = 0;
  }

  #grow(length: number): void {
    const wanted = Math.max(length, 2 * this.#buffer.byteLength, FIRST_BYTES);
    const grown = Buffer.allocUnsafeSlow(Math.min(wanted, this.#maxBytes));
    grown.set(this.bytes());
    this.#buffer = grown;
  }
}
