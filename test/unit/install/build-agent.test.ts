/** What the build of executables refuses before it builds. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { launchCommand, ROOT } from '../../support/launcher.ts';
import { tempDir } from '../../support/tmp.ts';

const { privateKey } = generateKeyPairSync('ed25519');
const privatePem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

test('takes public keys of releases alone, and says which file is none', async (t) => {
  const dir = await tempDir(t, 'keys');
  const refusalOf = async (name: string, content: string) => {
    const file = join(dir, name);
    await writeFile(file, content);
    const args = [`${ROOT}install/build/agent.ts`, '--release-key', file, '--out', join(dir, 'out')];
    const build = launchCommand(t, process.execPath, args, { input: '' });
    assert.equal((await build.exited).code, 1);
    return build.stderr;
  };
  const [secret, empty] = await Promise.all([refusalOf('release.key', privatePem), refusalOf('release.pub', '\n')]);
  assert.match(secret, /^build:agent: \S+\/release\.key holds no public key for releases[^\n]*\n$/);
  assert.match(empty, /^build:agent: \S+\/release\.pub is empty: [^\n]*\n$/);
});

test('knows its targets', async (t) => {
  const args = [`${ROOT}install/build/agent.ts`, '--target', 'linux-riscv64'];
  const build = launchCommand(t, process.execPath, args, { input: '' });
  assert.equal((await build.exited).code, 1);
  assert.match(build.stderr, /^build:agent: there is no target linux-riscv64: there are linux-x64, linux-arm64\n$/);
});

test('each build shows its options, and names a wrong one', async (t) => {
  const run = async (name: string, flag: string) => {
    const build = launchCommand(t, process.execPath, [`${ROOT}install/build/${name}.ts`, flag], { input: '' });
    return { code: (await build.exited).code, out: build.stdout, err: build.stderr };
  };
  for (const [name, called] of [
    ['agent', 'build:agent'],
    ['site', 'bundle'],
  ] as const) {
    const help = await run(name, '--help');
    assert.equal(help.code, 0, help.err);
    for (const flag of ['--target', '--release-key', '--sequence', '--out'])
      assert.match(help.out, new RegExp(`  ${flag} `));
    assert.match(help.out, new RegExp(`^Usage: npm run ${called} -- \\[options\\]\n`));
    const wrong = await run(name, '--wrong');
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, new RegExp(`^${called}: .*'--wrong'.*; --help shows the options\n$`));
  }
});
