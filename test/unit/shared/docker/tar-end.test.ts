/** Where a tar ends, and where it was only broken off at a place that looks like one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Headers, pack } from 'tar-stream';
import { BLOCK_BYTES, TarEnd } from '../../../../shared/docker/tar-end.ts';
import { cpuMs } from '../../../support/cpu-time.ts';
import { headerOf } from '../../../support/tar-headers.ts';

const GIB = 1024 ** 3;

async function tarOf(entries: readonly (Partial<Headers> & { name: string; content?: Buffer })[]): Promise<Buffer> {
  const tar = pack();
  for (const { content = Buffer.alloc(0), ...header } of entries) tar.entry(header, content);
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function isWhole(...chunks: readonly Buffer[]): boolean {
  const end = new TarEnd();
  for (const chunk of chunks) end.add(chunk);
  return end.isReached;
}

test('a tar is whole at its end and nowhere before, whatever its files have', async () => {
  const tar = await tarOf([
    { name: 'zeros', content: Buffer.alloc(20 * BLOCK_BYTES) },
    { name: `${'long/'.repeat(60)}name`, content: Buffer.from('text') },
    { name: 'directory', type: 'directory' },
    { name: 'link', type: 'symlink', linkname: 'zeros' },
    { name: 'more-zeros', content: Buffer.alloc(3 * BLOCK_BYTES + 1) },
  ]);
  assert.equal(isWhole(tar), true);
  for (let bytes = 0; bytes < tar.byteLength; bytes += BLOCK_BYTES / 2) {
    assert.equal(isWhole(tar.subarray(0, bytes)), false, `${bytes} of ${tar.byteLength} bytes`);
  }
  assert.equal(isWhole(tar, Buffer.alloc(18 * BLOCK_BYTES)), true, 'filled up, as tar does it');
});

test('it does not matter where the bytes are cut', async () => {
  const tar = await tarOf([
    { name: 'a', content: Buffer.alloc(1500, 1) },
    { name: 'é'.repeat(120), content: Buffer.alloc(512) },
  ]);
  fc.assert(
    fc.property(fc.array(fc.nat({ max: tar.byteLength }), { maxLength: 20 }), fc.boolean(), (cuts, isCut) => {
      const places = [0, ...cuts.toSorted((a, b) => a - b), isCut ? tar.byteLength - BLOCK_BYTES : tar.byteLength];
      const chunks = places.slice(1).map((to, index) => tar.subarray(places[index], to));
      const isSent = Math.max(...places) === tar.byteLength;
      assert.equal(
        isWhole(...chunks),
        isSent && chunks.reduce((sum, { byteLength }) => sum + byteLength, 0) === tar.byteLength,
      );
    }),
  );
});

test('the size of a large file counts as pax says it, and as GNU writes it', async () => {
  const size = 9 * GIB;
  const record = `19 size=${size}\n`;
  const extended = await tarOf([{ name: 'PaxHeaders/large', content: Buffer.from(record) }]);
  extended[156] = 'x'.charCodeAt(0);
  const header = (await tarOf([{ name: 'large' }])).subarray(0, BLOCK_BYTES);
  const binary = Buffer.from(header);
  binary.fill(0, 124, 136);
  binary[124] = 0x80;
  binary.writeBigUInt64BE(BigInt(size), 128);
  for (const head of [Buffer.concat([extended.subarray(0, 2 * BLOCK_BYTES), header]), binary]) {
    const [end, zeros] = [new TarEnd(), Buffer.alloc(64 * 1024 * 1024)];
    end.add(head);
    for (let at = 0; at < size; at += zeros.byteLength) {
      assert.equal(end.isReached, false);
      end.add(zeros);
    }
    assert.equal(end.isReached, false);
    end.add(zeros.subarray(0, 2 * BLOCK_BYTES));
    assert.equal(end.isReached, true);
  }
});

test('however small the pieces are in which it comes, little is kept of it', async () => {
  const header = (type: string, size: number) => {
    const block = Buffer.alloc(BLOCK_BYTES, 0);
    block.write(size.toString(8).padStart(11, '0'), 124);
    block.write(type, 156);
    return block;
  };
  const extended = header('x', 1024 * 1024);
  const [ofNothing, large] = [header('x', 0), header('0', GIB)];
  const piece = Buffer.alloc(1, 1);
  for (const heads of [[extended], [ofNothing, large]]) {
    const end = new TarEnd();
    for (const head of heads) end.add(head);
    const before = process.memoryUsage();
    for (let i = 0; i < 1024 * 1024 - 1; i++) end.add(piece);
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    const grown = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers;
    assert.ok(grown < 32 * 1024 * 1024, `${grown} bytes more`);
    assert.equal(end.isReached, false);
  }
});

test('bytes that are no tar lead nowhere, and to no error', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 2000 }), { maxLength: 6 }), (chunks) => {
      isWhole(...chunks.map((chunk) => Buffer.from(chunk)));
    }),
  );
});

test('an extended header takes no longer than in proportion to its length, whatever stands in it', async () => {
  for (const [what, filled, record] of [
    ['a length behind lines', '\n', '1 '],
    ['a length behind zeros', '0', '1 '],
    ['no length', '1', ''],
    ['one short record after another', '2 ', ''],
  ] as const) {
    const extended = Buffer.alloc(128 * 1024, filled);
    extended.write(record, extended.byteLength - record.length);
    const header = await headerOf('x', extended.byteLength);
    const read = () => {
      const end = new TarEnd();
      end.add(header);
      end.add(extended);
    };
    assert.ok((await cpuMs(read)) < 1_000, what);
  }
});
