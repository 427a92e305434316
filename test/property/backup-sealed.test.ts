/** The container of backups: what goes in comes out, and whatever is changed, cut off, moved or added is found. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteReader } from '../../server/backup/byte-reader.ts';
import { HEADER_BYTES, newHeader, readHeader } from '../../server/backup/header.ts';
import { CHUNK_BYTES, openStream, sealedBytes, sealStream } from '../../server/backup/sealed-stream.ts';

const KEY = randomBytes(32);
const SEALED_CHUNK = CHUNK_BYTES + 16;
const HEADER = newHeader({ log2N: 17, r: 8, p: 1, salt: randomBytes(16) });

async function collect(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** `bytes` cut at the given places, as a network or a disk may deliver them. */
function* cut(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function open(file: Buffer, sizes: readonly number[] = [100_000], key = KEY): Promise<Buffer> {
  const bytes = new ByteReader(asyncOf(cut(file, sizes)));
  const header = await bytes.upTo(HEADER_BYTES);
  readHeader(header);
  return await collect(openStream(key, header, bytes.rest()));
}

async function* asyncOf(chunks: Iterable<Buffer>): AsyncGenerator<Buffer> {
  yield* chunks;
}

const seal = (content: Buffer, sizes: readonly number[] = [100_000]) =>
  collect(sealStream(KEY, HEADER, cut(content, sizes)));

const sizes = fc.array(fc.integer({ min: 1, max: 3 * CHUNK_BYTES }), { minLength: 1, maxLength: 5 });
/** Around the borders of chunks, where mistakes live. */
const length = fc
  .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: -17, max: 17 }))
  .map(([chunks, more]) => Math.max(0, chunks * CHUNK_BYTES + more));
const refused = { code: 'VALIDATION', message: /^the backup cannot be read: [^\n]+$/ };

test('what was sealed opens to the same bytes, however they come', async () => {
  await fc.assert(
    fc.asyncProperty(length, sizes, sizes, async (size, written, read) => {
      const content = randomBytes(size);
      const file = await seal(content, written);
      assert.equal(file.length, sealedBytes(size));
      assert.ok((await open(file, read)).equals(content));
    }),
    { numRuns: 60 },
  );
});

test('any bit that is flipped is found, and nothing after it comes out', async () => {
  const content = randomBytes(2 * CHUNK_BYTES + 1000);
  const file = await seal(content);
  const bit = fc.oneof(
    fc.integer({ min: 0, max: HEADER_BYTES * 8 - 1 }),
    fc.integer({ min: 0, max: file.length * 8 - 1 }),
  );
  await fc.assert(
    fc.asyncProperty(bit, async (at) => {
      const damaged = Buffer.from(file);
      damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7));
      await assert.rejects(open(damaged), refused);
    }),
    { numRuns: 300 },
  );
  for (let at = 0; at < HEADER_BYTES * 8; at++) {
    const damaged = Buffer.from(file.subarray(0, SEALED_CHUNK + HEADER_BYTES));
    damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7));
    await assert.rejects(open(damaged), refused, `bit ${at} of the header`);
  }
});

test('any length but the whole is found, at the borders of chunks, too', async () => {
  const file = await seal(randomBytes(3 * CHUNK_BYTES));
  const borders = [0, 1, 3, 4, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 15, HEADER_BYTES + 16];
  for (let chunk = 1; chunk < 3; chunk++) {
    for (const more of [-1, 0, 1, 15, 16]) borders.push(HEADER_BYTES + chunk * SEALED_CHUNK + more);
  }
  for (const size of [...borders, file.length - 1]) {
    await assert.rejects(open(file.subarray(0, size)), refused, `${size} bytes`);
  }
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: file.length - 1 }), (size) =>
      assert.rejects(open(file.subarray(0, size)), refused),
    ),
    { numRuns: 100 },
  );
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 2 * SEALED_CHUNK }), (more) =>
      assert.rejects(open(Buffer.concat([file, more])), refused),
    ),
    { numRuns: 30 },
  );
});

test('chunks that are swapped, left out, doubled or of another file are found', async () => {
  const files = [await seal(randomBytes(4 * CHUNK_BYTES + 5)), await seal(randomBytes(4 * CHUNK_BYTES + 5))];
  const chunksOf = (file: Buffer) => [...cut(file.subarray(HEADER_BYTES), [SEALED_CHUNK])];
  const [own = [], foreign = []] = files.map(chunksOf);
  const order = fc.array(fc.integer({ min: 0, max: own.length - 1 }), { minLength: 1, maxLength: own.length + 1 });
  await fc.assert(
    fc.asyncProperty(order, async (indices) => {
      fc.pre(indices.length !== own.length || indices.some((index, at) => index !== at));
      const mixed = indices.map((index) => own[index] ?? Buffer.alloc(0));
      await assert.rejects(open(Buffer.concat([HEADER, ...mixed])), refused);
    }),
    { numRuns: 150 },
  );
  // The same key, but a header of its own, as every file has.
  const other = newHeader(readHeader(HEADER));
  await assert.rejects(open(Buffer.concat([other, ...foreign])), refused);
  const sealedApart = await collect(sealStream(KEY, other, [randomBytes(4 * CHUNK_BYTES + 5)]));
  const [, second = Buffer.alloc(0)] = chunksOf(sealedApart);
  await assert.rejects(open(Buffer.concat([HEADER, own[0] ?? second, second, ...own.slice(2)])), refused);
});

test('another key opens nothing, and arbitrary bytes are no backup', async () => {
  const file = await seal(Buffer.from('content'));
  await assert.rejects(open(file, [1000], randomBytes(32)), { ...refused, message: /passphrase is wrong/ });
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), (bytes) => assert.rejects(open(Buffer.from(bytes)), refused)),
    { numRuns: 200 },
  );
});

test('a quarter of a GiB passes with the memory of a few chunks', async () => {
  const total = 4096 * CHUNK_BYTES;
  let made = 0;
  let taken = 0;
  let mostAhead = 0;
  async function* content(): AsyncGenerator<Buffer> {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (; made < total; made += chunk.length) yield chunk;
  }
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const sealed = sealStream(KEY, HEADER, content());
  await sealed.next(); // the header
  for await (const chunk of openStream(KEY, HEADER, sealed)) {
    taken += chunk.length;
    mostAhead = Math.max(mostAhead, made - taken);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  assert.equal(taken, total);
  // Nothing is read ahead of whoever takes it.
  assert.ok(mostAhead <= 3 * CHUNK_BYTES, `${mostAhead} bytes were ahead`);
  // Garbage that waits for its collection counts, too.
  assert.ok(most < total / 2, `${most} bytes were held`);
});
