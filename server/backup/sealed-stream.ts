/**
 * The content of a backup file, encrypted as it passes: chunks of 64 KiB under AES-256-GCM. A chunk's nonce is its number
 * and whether it is the last, and the header is authenticated with each, so that no chunk can be changed, left out, moved
 * or added unseen, nor the end be cut off. Holds one chunk at a time, whatever the size.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { contentKey, HEADER_BYTES, unreadable } from './header.ts';

export const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';

type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** The size of a file with so many bytes of content. */
export function sealedBytes(contentBytes: number): number {
  return HEADER_BYTES + contentBytes + Math.max(1, Math.ceil(contentBytes / CHUNK_BYTES)) * TAG_BYTES;
}

/** The whole file: the header, then the content, encrypted. */
export async function* sealStream(key: Buffer, header: Buffer, content: Bytes): AsyncGenerator<Buffer> {
  const inner = contentKey(key, header);
  yield header;
  for await (const { bytes, index, isLast } of pieces(content, CHUNK_BYTES)) {
    const cipher = createCipheriv(ALGORITHM, inner, nonce(index, isLast), { authTagLength: TAG_BYTES });
    cipher.setAAD(header);
    yield Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  }
}

/**
 * The content of what follows the header. Each chunk is authentic when it is handed on, but only the end of the stream
 * says that all are there.
 * @throws FairleadError VALIDATION in one sentence, if the key is wrong or anything was changed or is missing
 */
export async function* openStream(key: Buffer, header: Buffer, sealed: Bytes): AsyncGenerator<Buffer> {
  const inner = contentKey(key, header);
  for await (const { bytes, index, isLast } of pieces(sealed, CHUNK_BYTES + TAG_BYTES)) {
    if (bytes.length < TAG_BYTES) throw broken(index);
    const decipher = createDecipheriv(ALGORITHM, inner, nonce(index, isLast), { authTagLength: TAG_BYTES });
    decipher.setAAD(header);
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    const opened = decipher.update(bytes.subarray(0, -TAG_BYTES));
    try {
      decipher.final();
    } catch {
      // Node says only that authentication failed.
      throw broken(index);
    }
    yield opened;
  }
}

/** With the first chunk nobody can tell a wrong key from damage; after it, the key was right. */
function broken(index: number): Error {
  if (index === 0) return unreadable('the passphrase is wrong, or it was damaged or cut off');
  return unreadable(`it was damaged or cut off, ${HEADER_BYTES + index * (CHUNK_BYTES + TAG_BYTES)} bytes in`);
}

function nonce(index: number, isLast: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUIntBE(index, 5, 6);
  bytes[11] = isLast ? 1 : 0;
  return bytes;
}

interface Piece {
  /** Good until the next piece is asked for. */
  readonly bytes: Buffer;
  readonly index: number;
  readonly isLast: boolean;
}

/** The source in pieces of `size` bytes; the last one is shorter, or not, and is known as the last. */
async function* pieces(source: Bytes, size: number): AsyncGenerator<Piece> {
  const held = Buffer.allocUnsafe(size);
  let filled = 0;
  let index = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      if (filled === size) {
        yield { bytes: held, index, isLast: false };
        index += 1;
        filled = 0;
      }
      const take = Math.min(size - filled, chunk.length - at);
      held.set(chunk.subarray(at, at + take), filled);
      filled += take;
      at += take;
    }
  }
  yield { bytes: held.subarray(0, filled), index, isLast: true };
}
