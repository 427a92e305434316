/** Whether a tar has come to its end: two blocks of zeros where a header is due, and not in the middle of a file of zeros. */
export const BLOCK_BYTES = 512;
/** Blocks of zeros that end a tar (POSIX.1-2017, pax, ustar interchange format). */
const END_BLOCKS = 2;
/** The largest extended header that is read; what Docker writes has a few hundred bytes, and extended attributes. */
const MAX_EXTENDED_BYTES = 1024 * 1024;

/** How a record of an extended header begins: with its length. What has more digits does not fit into one that is read. */
const RECORD = /^(0*[1-9]\d*) /;
const MAX_START_CHARS = 8;

const TYPE_AT = 156;
const SIZE = { at: 124, bytes: 12 };
/** Links, devices, directories and pipes: whatever size they name, no content follows. */
const WITHOUT_CONTENT: ReadonlySet<string> = new Set(['1', '2', '3', '4', '5', '6']);
/** Extended headers, which speak of the entry behind them: of pax, and of GNU. */
const EXTENDED: ReadonlySet<string> = new Set(['x', 'g', 'L', 'K']);

/** Follows the headers of a tar as its bytes pass, wherever they are cut. */
export class TarEnd {
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  #blockBytes = 0;
  /** Bytes of content that are to come, filled up to whole blocks. */
  #content = 0;
  #endBlocks = 0;
  /** The extended header that is being read. */
  #extended: { readonly bytes: Buffer; filled: number } | undefined;
  /** What an extended header says of the size of the next entry. */
  #nextSize: number | undefined;

  /** Whether all that has passed is a whole tar. */
  get isReached(): boolean {
    return this.#endBlocks >= END_BLOCKS && this.#blockBytes === 0 && this.#content === 0;
  }

  add(chunk: Buffer): void {
    for (let at = 0; at < chunk.byteLength; ) {
      at += this.#content > 0 ? this.#pass(chunk, at) : this.#fill(chunk, at);
    }
  }

  /** @returns how many bytes it took, here and below */
  #pass(chunk: Buffer, at: number): number {
    const bytes = Math.min(this.#content, chunk.byteLength - at);
    this.#content -= bytes;
    const extended = this.#extended;
    if (extended === undefined) return bytes;
    // Behind it stands what fills its last block up.
    extended.filled += chunk.copy(extended.bytes, extended.filled, at, at + bytes);
    if (this.#content === 0) {
      this.#nextSize = sizeRecord(extended.bytes) ?? this.#nextSize;
      this.#extended = undefined;
    }
    return bytes;
  }

  #fill(chunk: Buffer, at: number): number {
    const bytes = chunk.copy(this.#block, this.#blockBytes, at);
    this.#blockBytes += bytes;
    if (this.#blockBytes === BLOCK_BYTES) {
      this.#blockBytes = 0;
      this.#header();
    }
    return bytes;
  }

  #header(): void {
    if (this.#block.every((byte) => byte === 0)) {
      this.#endBlocks += 1;
      return;
    }
    this.#endBlocks = 0;
    const type = String.fromCharCode(this.#block[TYPE_AT] ?? 0);
    const said = sizeIn(this.#block.subarray(SIZE.at, SIZE.at + SIZE.bytes));
    if (EXTENDED.has(type)) {
      this.#content = padded(said);
      const isRead = type === 'x' && said > 0 && said <= MAX_EXTENDED_BYTES;
      if (isRead) this.#extended = { bytes: Buffer.alloc(said), filled: 0 };
      return;
    }
    this.#content = WITHOUT_CONTENT.has(type) ? 0 : padded(this.#nextSize ?? said);
    this.#nextSize = undefined;
  }
}

function padded(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

/** A size in octal digits, or, as GNU writes large ones, in binary with the first bit set. */
function sizeIn(field: Buffer): number {
  const [first = 0] = field;
  if ((first & 0x80) === 0) return Number.parseInt(field.toString('latin1').trim(), 8) || 0;
  return field.subarray(1).reduce((value, byte) => value * 256 + byte, first & 0x7f);
}

/** What pax says where a size does not fit into the header: the last record wins. */
function sizeRecord(extended: Buffer): number | undefined {
  let size: number | undefined;
  for (let at = 0; at < extended.byteLength; ) {
    const [start = '', length] = RECORD.exec(extended.toString('latin1', at, at + MAX_START_CHARS)) ?? [];
    if (length === undefined) break;
    const bytes = Number(length);
    const [, digits] = /^size=(\d{1,15})\n$/.exec(extended.toString('latin1', at + start.length, at + bytes)) ?? [];
    if (digits !== undefined) size = Number(digits);
    at += bytes;
  }
  return size;
}
