/** Tars that are downloaded and uploaded: to a file whole or not at all, and nothing is asked for in vain. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { saveTar, tarContent } from '../../../../server/cli/tars.ts';
import { tempDir } from '../../../support/tmp.ts';
import { fakeIo } from './fixtures.ts';

const ask = async () => Readable.from([Buffer.from('a '), Buffer.from('tar')]);
const never = () => assert.fail('asked in vain');

test('a tar goes to standard output, or into a file with a word about it', async (t) => {
  const out = join(await tempDir(t, 'tars'), 'some.tar');
  const bare = fakeIo({});
  await saveTar(bare, {}, ask);
  await once(bare.stdout.end(), 'finish');
  assert.deepEqual([bare.out(), bare.err()], ['a tar', '']);
  const named = fakeIo({});
  await saveTar(named, { out }, ask);
  await once(named.stderr.end(), 'finish');
  assert.deepEqual([named.out(), named.err()], ['', `5 B in ${out}\n`]);
  assert.equal(await readFile(out, 'utf8'), 'a tar');
  await assert.rejects(saveTar(bare, { out }, never), /is there already: --force/);
  await saveTar(fakeIo({}), { out, force: true }, ask);
});

test('a terminal gets no tar', async () => {
  const io = fakeIo({});
  io.stdout.isTTY = true;
  await assert.rejects(saveTar(io, {}, never), /name a file with --out/);
});

test('a tar that breaks off leaves no file', async (t) => {
  const dir = await tempDir(t, 'tars');
  const broken = async () =>
    Readable.from(
      (async function* () {
        yield Buffer.from('half');
        throw new Error('aborted');
      })(),
    );
  await assert.rejects(saveTar(fakeIo({}), { out: join(dir, 'half.tar') }, broken));
  assert.deepEqual(await readdir(dir), []);
});

test('a tar is sent from a file or from standard input; a file that cannot be read is said', async (t) => {
  const file = join(await tempDir(t, 'tars'), 'some.tar');
  await writeFile(file, 'a tar');
  const io = fakeIo({}, Readable.from([Buffer.from('piped')]));
  for (const [name, text] of [
    [file, 'a tar'],
    ['-', 'piped'],
  ] as const) {
    const { type, bytes } = await tarContent(io, name);
    assert.deepEqual([type, String(await buffer(bytes))], ['application/x-tar', text]);
  }
  await assert.rejects(tarContent(io, `${file}.none`), /cannot read .*\.none \(ENOENT\)/);
});
