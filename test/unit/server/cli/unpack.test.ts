/** Tars that hosts send: unpacked as they are where they are good, and never outside of their place where they are not. */
import assert from 'node:assert/strict';
import { lstat, mkdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { type Headers, pack } from 'tar-stream';
import { packPath } from '../../../../server/cli/pack.ts';
import { unpack } from '../../../../server/cli/unpack.ts';
import { tempDir } from '../../../support/tmp.ts';

type Entry = Partial<Headers> & { name: string; text?: string };

async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { text, ...header } of entries) tar.entry(header as Headers, text ?? '');
  tar.finalize();
  return await buffer(Readable.from(tar));
}

/** A directory with `outside/secret`, and a place beside that. */
async function place(t: TestContext) {
  const dir = await tempDir(t, 'unpack');
  await mkdir(join(dir, 'outside'));
  await writeFile(join(dir, 'outside/secret'), 'untouched');
  const target = join(dir, 'target');
  const warned: string[] = [];
  const take = async (entries: readonly Entry[]) =>
    await unpack(Readable.from([await tarOf(entries)]), {
      targetFor: async () => target,
      warn: (text) => void warned.push(text),
    });
  return { dir, target, warned, take, secret: () => readFile(join(dir, 'outside/secret'), 'utf8') };
}

const directory = (name: string, mode = 0o755): Entry => ({ name, type: 'directory', mode });
const link = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname });
const hard = (name: string, linkname: string): Entry => ({ name, type: 'link', linkname });

test('files, directories, links and modes come out as they went in', async (t) => {
  const { target, take } = await place(t);
  const mtime = new Date('2020-01-02T03:04:05Z');
  const count = await take([
    directory('d/'),
    { name: 'd/a', text: 'one', mode: 0o640, mtime },
    directory('d/sub/', 0o500),
    { name: 'd/sub/b', text: 'two', mode: 0o4755 },
    link('d/l', 'sub/b'),
    hard('d/h', 'd/a'),
  ]);
  assert.equal(count, 6);
  assert.equal(await readFile(join(target, 'a'), 'utf8'), 'one');
  assert.deepEqual((await stat(join(target, 'a'))).mtime, mtime);
  assert.equal((await stat(join(target, 'a'))).mode & 0o7777, 0o640);
  assert.equal((await stat(join(target, 'sub/b'))).mode & 0o7777, 0o755, 'nothing that runs as somebody else');
  assert.equal(await readlink(join(target, 'l')), 'sub/b');
  assert.equal((await stat(join(target, 'h'))).ino, (await stat(join(target, 'a'))).ino);
});

const HOSTILE: [what: string, entries: Entry[]][] = [
  ['a name that leads upwards', [directory('d'), { name: 'd/../../outside/secret', text: 'x' }]],
  ['a name beside its root', [directory('d'), { name: 'outside/secret', text: 'x' }]],
  ['an absolute name', [directory('d'), { name: '/outside/secret', text: 'x' }]],
  ['a link, and a file below it', [directory('d'), link('d/l', '../outside'), { name: 'd/l/secret', text: 'x' }]],
  ['a link as its root', [link('d', 'outside'), { name: 'd/secret', text: 'x' }]],
  ['a link, and a directory below it', [directory('d'), link('d/l', '../outside'), directory('d/l/new')]],
  [
    'a link to a link',
    [directory('d'), link('d/a', '..'), link('d/b', 'a/outside'), { name: 'd/b/secret', text: 'x' }],
  ],
  ['a link, and a hard link below it', [directory('d'), link('d/l', '../outside'), hard('d/h', 'd/l/secret')]],
  ['a hard link that leads upwards', [directory('d'), hard('d/h', 'd/../../outside/secret')]],
  ['a file, and one below it', [directory('d'), { name: 'd/f', text: '1' }, { name: 'd/f/g', text: 'x' }]],
  ['a file in the place of a directory', [directory('d'), directory('d/s'), { name: 'd/s', text: 'x' }]],
];

for (const [what, entries] of HOSTILE) {
  test(`hostile: ${what}`, async (t) => {
    const { dir, take, secret } = await place(t);
    await assert.rejects(take(entries), { name: 'CliError' });
    assert.equal(await secret(), 'untouched');
    await assert.rejects(lstat(join(dir, 'outside/new')));
  });
}

test('a link in the place of a file is replaced, and not followed; neither is a hard link to one', async (t) => {
  const { target, take, secret, dir } = await place(t);
  await take([directory('d'), link('d/l', '../outside/secret'), { name: 'd/l', text: 'mine' }]);
  assert.equal(await secret(), 'untouched');
  assert.equal(await readFile(join(target, 'l'), 'utf8'), 'mine');
  await symlink(join(dir, 'outside/secret'), join(target, 'old'));
  await take([directory('d'), { name: 'd/old', text: 'mine' }, link('d/s', '../outside/secret'), hard('d/h', 'd/s')]);
  assert.equal(await secret(), 'untouched');
  await assert.rejects(lstat(join(target, 'h')));
});

test('a link that was there before is not written through', async (t) => {
  const { target, take, secret, dir } = await place(t);
  await mkdir(target);
  await symlink(join(dir, 'outside'), join(target, 'l'));
  await assert.rejects(take([directory('d'), { name: 'd/l/secret', text: 'x' }]), /is no directory/);
  assert.equal(await secret(), 'untouched');
});

test('devices and pipes are left out, and told', async (t) => {
  const { target, take, warned } = await place(t);
  const devices = (['character-device', 'block-device', 'fifo'] as const).map((type) => ({ name: `d/${type}`, type }));
  assert.equal(await take([directory('d'), ...devices, { name: 'd/a', text: 'x' }]), 2);
  assert.deepEqual(
    warned,
    devices.map(({ name, type }) => `left out: ${name} (${type})`),
  );
  for (const { type } of devices) await assert.rejects(lstat(join(target, type)));
});

test('a tar that breaks off is an error', async (t) => {
  const { target } = await place(t);
  const whole = await tarOf([directory('d'), { name: 'd/a', text: 'x'.repeat(10_000) }]);
  for (const length of [100, 700, 5_000]) {
    const cut = Readable.from([whole.subarray(0, length)]);
    await assert.rejects(unpack(cut, { targetFor: async () => target, warn: () => undefined }), `${length} bytes`);
  }
  const failing = new Readable({ read: () => undefined });
  failing.push(whole.subarray(0, 1_024));
  setImmediate(() => failing.destroy(new Error('the connection was lost')));
  const taking = unpack(failing, { targetFor: async () => target, warn: () => undefined });
  await assert.rejects(taking, /the connection was lost/);
});

test('what is packed is unpacked as it was', async (t) => {
  const { dir, target } = await place(t);
  const source = join(dir, 'source');
  await mkdir(join(source, 'sub'), { recursive: true });
  const big = 'x'.repeat(1_000_000);
  await writeFile(join(source, 'sub/big'), big, { mode: 0o600 });
  await writeFile(join(source, 'empty'), '');
  await symlink('sub/big', join(source, 'l'));
  const warn = () => assert.fail('nothing is left out');
  await unpack(packPath(source, { name: 'n', warn }), { targetFor: async () => target, warn });
  assert.equal(await readFile(join(target, 'sub/big'), 'utf8'), big);
  assert.equal((await stat(join(target, 'sub/big'))).mode & 0o777, 0o600);
  assert.equal(await readFile(join(target, 'empty'), 'utf8'), '');
  assert.equal(await readlink(join(target, 'l')), 'sub/big');
  await assert.rejects(buffer(packPath(join(dir, 'none'), { name: 'n', warn })), /cannot read .*none \(ENOENT\)/);
});
