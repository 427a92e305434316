/** Whole numbers from 0 to 2^53 - 1 in as few bytes as they take: seven bits in each, the lowest first. */

/** A number takes so many bytes at most. */
const MAX_NUMBER_BYTES = 8;

export class NumberWriter {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  /** @param value a whole number from 0 to 2^53 - 1 */
  put(value: number): void {
    if (this.#length + MAX_NUMBER_BYTES > this.#buffer.length) this.#grow();
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  /** @param value a whole number from -(2^52) to 2^52 - 1 */
  putSigned(value: number): void {
    this.put(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  /** All that was put, in a buffer of its own. */
  bytes(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#length));
  }

  #grow(): void {
    const larger = Buffer.allocUnsafe(this.#buffer.length * 2);
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

export class NumberReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** @throws Error at the end, and for what no writer has put */
  take(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < MAX_NUMBER_BYTES; count++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80 && value <= Number.MAX_SAFE_INTEGER) return value;
      factor *= 0x80;
    }
    throw new Error('a row of metrics is damaged');
  }

  takeSigned(): number {
    const value = this.take();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}
