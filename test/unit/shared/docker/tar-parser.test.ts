/** How much of a tar another side can make its reader keep. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { pack } from 'tar-stream';
import { visitEntries } from '../../../../agent/volumes/tar.ts';
import { unpack } from '../../../../server/cli/unpack.ts';
import { headerOf, headerOfSize } from '../../../support/tar-headers.ts';
import { tempDir } from '../../../support/tmp.ts';

const BLOCK = 512;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
/** More than is read of it; less than a test has memory. */
const SENT_BYTES = 32 * MIB;

const DIRECTORY = await headerOf('5', 0);
const ENDLESS: [what: string, start: Buffer[], then: Buffer][] = [
  ...(await Promise.all(
    ['L', 'K', 'x', 'g'].map(
      async (type): Promise<[string, Buffer[], Buffer]> => [
        `an extended header ${type}`,
        [DIRECTORY, await headerOf(type, 3 * GIB)],
        Buffer.alloc(64 * 1024, 'a'),
      ],
    ),
  )),
  [
    'an extended header behind a directory that claims to have content',
    [await headerOf('5', 3 * GIB), await headerOf('L', 3 * GIB)],
    Buffer.alloc(64 * 1024, 'a'),
  ],
  ['one extended header after another', [DIRECTORY], await headerOf('g', 0)],
  ['zeros', [DIRECTORY], Buffer.alloc(64 * 1024)],
];

for (const [what, start, then] of ENDLESS) {
  test(`little is kept of ${what}`, async (t) => {
    let sent = 0;
    const source = Readable.from(
      (function* () {
        yield* start;
        for (; sent < SENT_BYTES; sent += then.byteLength) yield then;
      })(),
    );
    const target = `${await tempDir(t, 'tar')}/d`;
    const taking = unpack(source, { targetFor: async () => target, warn: () => undefined });
    await assert.rejects(taking, {
      code: 'DOCKER_ERROR',
      message: /headers of more than 1048576 bytes before one file/,
    });
    assert.ok(sent < 2 * MIB, `${sent} bytes were taken`);
    assert.ok(source.destroyed);
  });
}

const SIZES: [what: string, head: () => Promise<Buffer[]>][] = [
  ['below zero', async () => [await headerOfSize(Buffer.alloc(12, 0xff).fill(0xfb, 11))]],
  ['that is no number', async () => [await headerOfSize(Buffer.alloc(12, 0x81))]],
  ['below zero by an extended header', async () => [...(await extendedBy('11 size=-5\n')), await headerOf('0', 512)]],
  ['without digits by an extended header', async () => [...(await extendedBy('10 size=x\n')), await headerOf('0', 9)]],
];

async function extendedBy(record: string): Promise<Buffer[]> {
  const content = Buffer.alloc(BLOCK);
  content.write(record);
  return [await headerOf('x', record.length), content];
}

for (const [what, head] of SIZES) {
  test(`a size ${what} is refused, and nobody waits for what is behind it`, { timeout: 10_000 }, async (t) => {
    const tar = Buffer.concat([...(await head()), Buffer.alloc(4 * BLOCK)]);
    const target = `${await tempDir(t, 'tar')}/d`;
    const refused = { code: 'DOCKER_ERROR', message: /the tar has a file of no size that there is/ };
    const options = { targetFor: async () => target, warn: () => undefined };
    await assert.rejects(unpack(Readable.from([tar]), options), refused);
    await assert.rejects(
      visitEntries(Readable.from([tar]), () => true),
      refused,
    );
  });
}

test('a directory has no content, whatever size it names, and nobody waits for any', { timeout: 10_000 }, async (t) => {
  const tar = Buffer.concat([await headerOf('5', 3 * BLOCK), ...(await extendedBy('9 size=7\n')), DIRECTORY]);
  const whole = Buffer.concat([tar, Buffer.alloc(4 * BLOCK)]);
  const sizes: unknown[] = [];
  await visitEntries(Readable.from([whole]), ({ size }) => sizes.push(size) > 0);
  assert.deepEqual(sizes, [0, 0]);
  const target = `${await tempDir(t, 'tar')}/d`;
  const options = { targetFor: async () => target, warn: () => undefined };
  assert.equal(await unpack(Readable.from([whole]), options), 2);
});

test('long names, and large files in one chunk, are none of these', async (t) => {
  const tar = pack();
  const name = `d/${'long/'.repeat(300)}name`;
  tar.entry({ name: 'd', type: 'directory' });
  for (const each of ['a', 'b', 'c']) tar.entry({ name: `d/${each}` }, Buffer.alloc(3 * MIB, each));
  for (let at = 0; at < 100; at += 1) tar.entry({ name: 'd/same' }, Buffer.alloc(BLOCK * 9));
  tar.entry({ name }, Buffer.from('text'));
  tar.finalize();
  const source = Readable.from([Buffer.concat([await buffer(Readable.from(tar)), Buffer.alloc(18 * BLOCK)])]);
  const target = `${await tempDir(t, 'tar')}/d`;
  assert.equal(await unpack(source, { targetFor: async () => target, warn: () => undefined }), 105);
});
