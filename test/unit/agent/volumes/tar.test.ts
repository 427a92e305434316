import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { contentHash, TarTail, visitEntries } from '../../../../agent/volumes/tar.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { headerOf } from '../../../support/tar-headers.ts';
import { tarOf } from '../../../support/volumes.ts';

const shaOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const isDockerError = (error: unknown) => isFairleadError(error, 'DOCKER_ERROR');

/** `bytes` in chunks of these sizes, again and again. */
function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const size = sizes[n % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

test('a tail is what stands behind an offset, and knows the hash of both, however the tar comes', async () => {
  const tar = await tarOf([
    { name: 'a', content: randomBytes(700) },
    { name: 'b', content: randomBytes(3000) },
  ]);
  const sizes = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: tar.length + 600 }), sizes, async (offset, chunks) => {
      const tail = Readable.from(pieces(tar, chunks)).pipe(new TarTail(offset));
      const [rest, before] = await Promise.all([buffer(tail), tail.reached]);
      assert.ok(rest.equals(tar.subarray(offset)));
      const reached = offset <= tar.length ? { bytes: offset, sha256: shaOf(tar.subarray(0, offset)) } : undefined;
      assert.deepEqual(before, reached);
      assert.deepEqual(tail.sum, { bytes: tar.length, sha256: shaOf(tar) });
    }),
    { numRuns: 60 },
  );
});

test('a tar whose end is lacking never looks whole', async () => {
  const tar = await tarOf([{ name: 'a', content: randomBytes(700) }]);
  for (const cut of [tar.subarray(0, -1024), tar.subarray(0, -1), tar.subarray(0, 512), Buffer.alloc(0)]) {
    const tail = Readable.from(pieces(cut, [100])).pipe(new TarTail());
    await assert.rejects(buffer(tail), isDockerError);
  }
  const withError = Buffer.concat([tar.subarray(0, -1024), Buffer.from('{"message":"unexpected EOF"}')]);
  await assert.rejects(buffer(Readable.from([withError]).pipe(new TarTail())), isDockerError);
});

test('the hash of a content sees what counts, and not how it is written', async () => {
  const file = { name: 'a', mode: 0o640, uid: 5, gid: 6, content: Buffer.from('x') };
  const hash = async (...entries: Parameters<typeof tarOf>[0][number][]) => {
    return await contentHash(Readable.from([await tarOf(entries)]));
  };
  const one = await hash(file);
  assert.equal(await hash({ ...file, uname: 'somebody', gname: 'else' }), one);
  const changes = [
    { mode: 0o600 },
    { uid: 6 },
    { gid: 5 },
    { content: Buffer.from('y') },
    { name: 'b' },
    { mtime: new Date(0) },
  ];
  for (const change of changes) assert.notEqual(await hash({ ...file, ...change }), one, JSON.stringify(change));
  assert.notEqual(await hash(file, { ...file, name: 'b' }), one);
});

test('what is no tar, and a tar that breaks off, is said to be so', async () => {
  const all = () => true;
  await assert.rejects(visitEntries(Readable.from([Buffer.alloc(2048, 'no tar')]), all), isDockerError);
  const lost = new Error('the connection is lost');
  const broken = Readable.from(
    (function* () {
      yield Buffer.alloc(100);
      throw lost;
    })(),
  );
  await assert.rejects(visitEntries(broken, all), lost);
});

test('headers without an end are refused before much of them is kept', async () => {
  const endless = await headerOf('x', 3 * 1024 ** 3);
  let sent = 0;
  const source = Readable.from(
    (function* () {
      yield endless;
      for (; sent < 32 * 1024 ** 2; sent += 65_536) yield Buffer.alloc(65_536, 'a');
    })(),
  );
  const refusal = { code: 'DOCKER_ERROR', message: /headers of more than 1048576 bytes/ };
  await assert.rejects(
    visitEntries(source, () => true),
    refusal,
  );
  assert.ok(sent < 2 * 1024 ** 2, `${sent} bytes were taken`);
});

test('a tar that breaks off in the middle of a file, and a visitor that throws, end the visit and no process', async () => {
  const tar = await tarOf([{ name: 'a', content: randomBytes(100_000) }]);
  const broken = new FairleadError('DOCKER_ERROR', 'Docker is gone');
  const cutOff = async function* (error?: Error) {
    yield tar.subarray(0, 50_000);
    // Once it is being read.
    await setImmediate();
    if (error !== undefined) throw error;
  };
  const all = () => true;
  const nothing = () => undefined;
  for (const content of [undefined, nothing]) {
    await assert.rejects(visitEntries(Readable.from(cutOff(broken)), all, content), broken);
    await assert.rejects(visitEntries(Readable.from(cutOff()), all, content), isDockerError);
  }
  await assert.rejects(contentHash(Readable.from(cutOff(broken))), broken);
  const thrown = new RangeError('no such time');
  const throws = () => {
    throw thrown;
  };
  await assert.rejects(visitEntries(Readable.from([tar]), throws), thrown);
  await setImmediate();
});
