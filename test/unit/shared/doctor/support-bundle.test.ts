/** Support bundles: their form, and what is taken out of them whatever it stands in. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { scrub, supportBundle } from '../../../../shared/doctor/support-bundle.ts';
import { tempDir } from '../../../support/tmp.ts';

test('what looks like a secret is taken out, and the rest stays', () => {
  const cases: [string, string][] = [
    ['a fla1.AbC_d-9.x b', 'a [token] b'],
    ['-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nz', '[private key]\nz'],
    ['-----BEGIN PRIVATE KEY-----\nMHc', '[private key]'],
    ['authorize with Bearer abcdefgh12345', 'authorize with Bearer [credentials]'],
    ['http://ann:pw@proxy:3128/', 'http://[credentials]@proxy:3128/'],
    ['"dbPassword": "hunter2 \\" x", "b": 1', '"dbPassword": "[secret]", "b": 1'],
    ['PGPASSWORD=hunter2 psql', 'PGPASSWORD=[secret] psql'],
    ["password='hunter2 x' y", "password='[secret]' y"],
    ['password=hun\\ter2', 'password=[secret]'],
    ['{"token": {"id": 1}}', '{"token": {"id": 1}}'],
    ['warn  token  it has ended', 'warn  token  it has ended'],
    ['{"id": "token", "level": "ok"}', '{"id": "token", "level": "ok"}'],
    ['-----BEGIN CERTIFICATE-----', '-----BEGIN CERTIFICATE-----'],
  ];
  for (const [text, clean] of cases) assert.equal(scrub(text), clean);
});

test('JSON stays JSON', () => {
  const value = { secret: 'x"y', nested: [{ apiKey: 5, password: null, token: true }], url: 'https://a:b@c/' };
  const { nested, ...rest } = JSON.parse(scrub(JSON.stringify(value)));
  assert.deepEqual(rest, { secret: '[secret]', url: 'https://[credentials]@c/' });
  assert.deepEqual(nested, [{ apiKey: '[secret]', password: '[secret]', token: '[secret]' }]);
});

test('what stands in a text of JSON, or in JSON that is such a text, is taken out, too', () => {
  const texts = [
    ['it says password="hunter2 x" here', 'it says password="[secret]" here'],
    ["it says password='hunter2' here", "it says password='[secret]' here"],
    ['token: hunter2\nand more', 'token: [secret] more'],
    ['token: hunter2', 'token: [secret]'],
    ['{"password":"hunter2","b":1}', '{"password":"[secret]","b":1}'],
    [JSON.stringify({ detail: '{"secret": "hunter2"}' }), JSON.stringify({ detail: '{"secret": "[secret]"}' })],
  ] as const;
  for (const [text, clean] of texts) {
    const { detail, end } = JSON.parse(scrub(JSON.stringify({ detail: text, end: true })));
    assert.equal(end, true);
    assert.equal(detail, clean);
  }
});

test('a bundle is a tar that tar unpacks, with a README of all that is in it', async (t) => {
  const dir = await tempDir(t);
  const files = [
    { name: 'empty.txt', about: 'nothing', text: '' },
    { name: 'block.txt', about: 'a whole block', text: 'x'.repeat(512) },
    { name: 'umlaut.json', about: 'more bytes than characters', text: '{"ä": "€"}\n' },
    { name: 'long.txt', about: 'too much', text: 'y'.repeat(5 * 1024 * 1024) },
  ];
  await writeFile(join(dir, 'b.tar.gz'), supportBundle('fairlead 1.0.0', files, Date.UTC(2020, 0, 1)));
  execFileSync('tar', ['-xzf', 'b.tar.gz'], { cwd: dir });
  const folder = join(dir, 'fairlead-support-20200101T000000Z');
  for (const { name, text } of files.slice(0, 3)) assert.equal(await readFile(join(folder, name), 'utf8'), text);
  assert.match(await readFile(join(folder, 'long.txt'), 'utf8'), /y\n\[the rest is left out\]\n$/);
  const readme = await readFile(join(folder, 'README.txt'), 'utf8');
  assert.match(readme, /^Made by fairlead 1\.0\.0 on 2020-01-01T00:00:00\.000Z/);
  for (const { name, about } of files) assert.match(readme, new RegExp(`^${name} +${about}$`, 'm'));
  const { mode, mtimeMs } = await stat(join(folder, 'block.txt'));
  assert.deepEqual([mode & 0o777, mtimeMs], [0o600, Date.UTC(2020, 0, 1)]);
});
