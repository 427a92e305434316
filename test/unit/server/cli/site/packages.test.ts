import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { packageFiles } from '../../../../../server/cli/site/package-files.ts';
import { packagesOutside } from '../../../../../server/cli/site/packages.ts';
import { type Cleanup, tempDir } from '../../../../support/tmp.ts';

async function tree(t: Cleanup, files: Readonly<Record<string, unknown>>): Promise<string> {
  const root = await tempDir(t, 'packages');
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), JSON.stringify(content));
  }
  return root;
}

const needs = (...names: string[]) => ({ dependencies: Object.fromEntries(names.map((name) => [name, '*'])) });
const PACKAGES = {
  'node_modules/better-sqlite3/package.json': needs('node-addon-api'),
  'node_modules/pino/package.json': needs('sonic-boom', 'thread'),
  'node_modules/pino-pretty/package.json': needs('sonic-boom', 'thread'),
  'node_modules/pino-pretty/node_modules/sonic-boom/package.json': needs('thread'),
  'node_modules/sonic-boom/package.json': needs(),
  'node_modules/thread/package.json': needs('pino'),
};

test('packages are placed where Node finds the same ones again', async (t) => {
  const root = await tree(t, PACKAGES);
  const placed = async (from: string) =>
    (await packagesOutside(from)).map(({ dir, path }) => [path, dir.slice(root.length + 1)]);
  const paths = [
    'better-sqlite3',
    'pino',
    'sonic-boom',
    'thread',
    'pino-pretty',
    'pino-pretty/node_modules/sonic-boom',
  ];
  const same = paths.map((path) => [`node_modules/${path}`, `node_modules/${path}`]);
  assert.deepEqual(await placed(root), same);
  // As npm installs what another package needs: beside it.
  assert.deepEqual(await placed(join(root, 'node_modules/fairlead')), same);
});

test('a package that is lacking is named', async (t) => {
  const { 'node_modules/thread/package.json': _, ...others } = PACKAGES;
  const root = await tree(t, others);
  await assert.rejects(packagesOutside(root), { code: 'NOT_FOUND', message: /the package thread is not installed/ });
});

test('of a package goes along what runs on the platform', async (t) => {
  const root = await tree(t, {
    'package.json': {},
    LICENSE: 0,
    'lib/index.js': 0,
    'lib/index.d.ts': 0,
    'lib/test/x.js': 0,
    'src/a.cpp': 0,
    'deps/b.c': 0,
    'binding.gyp': 0,
    'prebuilds/linux-x64.node': 0,
    'prebuilds/linuxmusl-x64.node': 0,
    'prebuilds/linux-arm64/c.node': 0,
    'node_modules/d/package.json': 0,
    '.github/e.yml': 0,
  });
  assert.deepEqual(await packageFiles(root, 'linux-x64'), [
    'LICENSE',
    'lib/index.js',
    'package.json',
    'prebuilds/linux-x64.node',
  ]);
  assert.ok((await packageFiles(root, 'linux-arm64')).includes('prebuilds/linux-arm64/c.node'));
  const plain = await tree(t, { 'src/index.js': 0, 'build/index.js': 0 });
  assert.deepEqual(await packageFiles(plain, 'linux-x64'), ['build/index.js', 'src/index.js']);
});
