/** Whether JSON that passes by is between two values: what is cut off in the middle of one is not. Values need not be valid. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN: ReadonlySet<number> = new Set([0x7b, 0x5b]);
const CLOSE: ReadonlySet<number> = new Set([0x7d, 0x5d]);
const SPACE: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);

/** Objects and lists count as values, wherever they are cut into chunks; so does a bare word, as `null`. */
export class JsonEnd {
  #depth = 0;
  #inString = false;
  #isEscaped = false;
  #inWord = false;
  #values = 0;

  /** Whether no object, list or text is open. */
  get isBetween(): boolean {
    return this.#depth === 0 && !this.#inString;
  }

  /** How many values have begun. */
  get values(): number {
    return this.#values;
  }

  add(chunk: Buffer): void {
    for (let at = 0; at < chunk.byteLength; at++) {
      if (this.#inString) at = this.#passString(chunk, at);
      else this.#take(chunk[at] ?? 0);
    }
  }

  /** @returns where the string ends, or the last byte of the chunk */
  #passString(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.byteLength; at++) {
      const byte = chunk[at];
      if (this.#isEscaped) this.#isEscaped = false;
      else if (byte === BACKSLASH) this.#isEscaped = true;
      else if (byte === QUOTE) {
        this.#inString = false;
        return at;
      }
    }
    return chunk.byteLength;
  }

  #take(byte: number): void {
    const isWord = !(byte === QUOTE || OPEN.has(byte) || CLOSE.has(byte) || SPACE.has(byte));
    const begins = this.#depth === 0 && (byte === QUOTE || OPEN.has(byte) || (isWord && !this.#inWord));
    if (begins) this.#values++;
    this.#inWord = isWord;
    if (byte === QUOTE) this.#inString = true;
    else if (OPEN.has(byte)) this.#depth++;
    else if (CLOSE.has(byte)) this.#depth = Math.max(0, this.#depth - 1);
  }
}
