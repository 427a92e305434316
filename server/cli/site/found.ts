/** What stands in a site, file by file: the checksums of all, and the contents of those that say something of it. */
import { createHash } from 'node:crypto';

const MAX_FILES = 20_000;
const MAX_BYTES = 8 * 1024 ** 3;
/** Of all files whose contents matter here: the checksums of the most files, and what says something of each executable. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
const KEPT = /(?:^|\/)(?:SHA256SUMS|SHA256SUMS\.sig|site\.json|fairlead-agent\.(?:json|sig))$/;

export class Found {
  /** SHA-256 in hexadecimal by path in the site. */
  readonly sums = new Map<string, string>();
  /** Contents by path. */
  readonly kept = new Map<string, string>();
  #bytes = 0;
  #keptBytes = 0;

  /** Of all files. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws Error for more than a site has; what `content` fails with */
  async add(path: string, content: AsyncIterable<Buffer>): Promise<void> {
    const isKept = KEPT.test(path);
    const hash = createHash('sha256');
    const chunks: Buffer[] = [];
    for await (const chunk of content) {
      hash.update(chunk);
      this.#bytes += chunk.byteLength;
      if (this.#bytes > MAX_BYTES) throw tooLarge();
      if (!isKept) continue;
      this.#keptBytes += chunk.byteLength;
      if (this.#keptBytes > MAX_KEPT_BYTES) throw new Error(`${JSON.stringify(path)} is too large`);
      chunks.push(chunk);
    }
    if (this.sums.size >= MAX_FILES) throw tooLarge();
    this.sums.set(path, hash.digest('hex'));
    if (isKept) this.kept.set(path, Buffer.concat(chunks).toString());
  }
}

function tooLarge(): Error {
  return new Error('it is larger than any site archive');
}
