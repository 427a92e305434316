/** Decompresses a file that is one member of gzip and nothing else (RFC 1952): what follows one is read by some programs only. */
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { crc32, createInflateRaw } from 'node:zlib';

const HEADER_BYTES = 10;
/** Magic, deflate, no name or other fields, no time. Behind it: how it was compressed, and where. */
const HEADER = Buffer.from('1f8b080000000000', 'hex');
const TRAILER_BYTES = 8;
const CHUNK_BYTES = 64 * 1024;

/** @throws Error for anything else; what reading the file fails with */
export async function* gzipMember(path: string): AsyncGenerator<Buffer> {
  await using file = await open(path);
  const header = await readAt(file, 0, HEADER_BYTES);
  if (!header.subarray(0, HEADER.byteLength).equals(HEADER))
    throw new Error('it is not compressed as Fairlead does it');
  const inflate = createInflateRaw();
  const piped = pipeline(chunksFrom(file, HEADER_BYTES), inflate);
  piped.catch(() => undefined); // the loop below fails with it
  let sum = 0;
  let bytes = 0;
  try {
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      sum = crc32(chunk, sum);
      bytes += chunk.byteLength;
      yield chunk;
    }
  } finally {
    inflate.destroy();
    await piped.catch(() => undefined);
  }
  const end = HEADER_BYTES + inflate.bytesWritten;
  const trailer = Buffer.alloc(TRAILER_BYTES);
  trailer.writeUInt32LE(sum, 0);
  trailer.writeUInt32LE(bytes % 2 ** 32, 4);
  if (!(await readAt(file, end, TRAILER_BYTES)).equals(trailer))
    throw new Error('it is damaged: its checksum is wrong');
  if ((await file.stat()).size !== end + TRAILER_BYTES) throw new Error('there is more behind its end');
}

async function* chunksFrom(file: FileHandle, start: number): AsyncGenerator<Buffer> {
  for (let position = start; ; ) {
    const chunk = await readAt(file, position, CHUNK_BYTES);
    if (chunk.byteLength === 0) return;
    position += chunk.byteLength;
    yield chunk;
  }
}

/** So many bytes, or fewer where the file ends. */
async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}
