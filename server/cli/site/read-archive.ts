/**
 * Reads a site archive, of which no byte may be other than what Fairlead writes for the files that are in it: so every
 * program unpacks the files that were read here, and no others.
 */
import { Found } from './found.ts';
import { gzipMember } from './gzip-member.ts';
import { BLOCK_BYTES, decodeHeader, END, foldersToState, order, paddingOf, type TarHeader } from './tar-blocks.ts';

const END_BLOCK = Buffer.alloc(BLOCK_BYTES);

export interface ReadArchive {
  /** In which all files stand. */
  readonly folder: string;
  readonly found: Found;
}

/** @throws Error for anything that Fairlead does not write; what reading the file fails with */
export async function readArchive(file: string): Promise<ReadArchive> {
  const bytes = new Bytes(gzipMember(file));
  try {
    return await readTar(bytes);
  } finally {
    await bytes.close();
  }
}

async function readTar(bytes: Bytes): Promise<ReadArchive> {
  const found = new Found();
  const entries = new Order();
  for (;;) {
    const block = await bytes.exactly(BLOCK_BYTES);
    if (block.equals(END_BLOCK)) break;
    const header = decodeHeader(block);
    const path = entries.next(header);
    if (path === undefined) continue;
    await found.add(path, bytes.part(header.size));
    await requireZeros(bytes, paddingOf(header.size));
  }
  entries.end();
  await requireZeros(bytes, END.byteLength - BLOCK_BYTES);
  if ((await bytes.some(1)) !== undefined) throw new Error('there is more behind its end');
  return { folder: entries.folder, found };
}

async function requireZeros(bytes: Bytes, count: number): Promise<void> {
  const zeros = await bytes.exactly(count);
  if (zeros.some((byte) => byte !== 0)) throw new Error('there is something where a tar has zeros');
}

/** Files come in order, each folder before the first file in it, and no folder twice or for nothing. */
class Order {
  readonly #stated = new Set<string>();
  #folders: string[] = [];
  #last = '';
  #top = '';

  get folder(): string {
    return this.#top;
  }

  /** @returns the path below the folder of all files; undefined for a folder @throws Error for what is out of order */
  next({ path, isFolder }: TarHeader): string | undefined {
    const [top = '', ...rest] = path.split('/');
    if (this.#top === '') this.#top = top;
    if (top !== this.#top || (rest.length === 0 && !isFolder))
      throw new Error(`${JSON.stringify(path)} is outside of its folder`);
    if (isFolder) {
      if (this.#folders.push(path) > BLOCK_BYTES) throw new Error('it has folders with nothing in them');
      return undefined;
    }
    const below = rest.join('/');
    if (below === this.#last) throw new Error(`${JSON.stringify(below)} is in it twice`);
    const due = foldersToState(path, this.#stated);
    if (order(this.#last, below) > 0 || due.join('\n') !== this.#folders.join('\n')) {
      throw new Error(`${JSON.stringify(below)} is not where Fairlead puts it`);
    }
    this.#folders = [];
    this.#last = below;
    return below;
  }

  end(): void {
    if (this.#folders.length > 0) throw new Error('it has folders with nothing in them');
  }
}

/** Bytes that come in chunks, taken in pieces of any length. */
class Bytes {
  readonly #chunks: AsyncGenerator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncGenerator<Buffer>) {
    this.#chunks = chunks;
  }

  /** At least one byte and at most so many; undefined at the end. */
  async some(atMost: number): Promise<Buffer | undefined> {
    while (this.#rest.byteLength === 0) {
      const { done, value } = await this.#chunks.next();
      if (done) return undefined;
      this.#rest = value;
    }
    const taken = this.#rest.subarray(0, atMost);
    this.#rest = this.#rest.subarray(taken.byteLength);
    return taken;
  }

  async *part(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; ) {
      const chunk = await this.some(left);
      if (chunk === undefined) throw new Error('it ends too early');
      left -= chunk.byteLength;
      yield chunk;
    }
  }

  /** For what is short. */
  async exactly(bytes: number): Promise<Buffer> {
    return Buffer.concat(await Array.fromAsync(this.part(bytes)));
  }

  async close(): Promise<void> {
    await this.#chunks.return(undefined);
  }
}
