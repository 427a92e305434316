/** Steps of the script that installs the server, with its paths in a temporary folder and without a service manager. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { wholeScript } from '../../../server/install-script.ts';
import { tempDir } from '../../support/tmp.ts';

const BAD_USAGE = 2;

/** The functions of the script, whose folder of files that it installs is `dir`. */
async function functionsIn(dir: string): Promise<string> {
  const whole = await wholeScript('install-server.sh');
  return whole.slice(0, whole.indexOf('\ntrap clean_up EXIT\n')).replace(/^(readonly [A-Z_]+="?)(?=\/)/gm, `$1${dir}`);
}

async function machine(t: TestContext) {
  const dir = await tempDir(t, 'install-server-sh');
  const functions = await functionsIn(dir);
  /** What the script has made, or is given, in the folder. */
  const at = (path: string) => join(dir, path);
  return {
    at,
    /** Runs `steps` in a shell that has the script's functions, in the folder as the archive. */
    run(steps: string) {
      const input = `${functions}\ninit=none\narch=x64\ndata_dir=${dir}/data\n${steps}\n`;
      const { status, stdout, stderr } = spawnSync('sh', ['-s'], { input, cwd: dir, encoding: 'utf8' });
      return { status, stdout, stderr };
    },
    async put(path: string, text: string) {
      await mkdir(dirname(at(path)), { recursive: true });
      await writeFile(at(path), text, { mode: 0o755 });
    },
  };
}

test('a line of SHA256SUMS that sha256sum would pass over vouches for nothing', async (t) => {
  const { run, put } = await machine(t);
  await put('server/bin/node', 'true\n');
  const sums = 'sha256sum server/bin/node >SHA256SUMS';
  for (const line of ['0 server/lib/evil', `${'0'.repeat(63)}  server/lib/evil`, `\\${'0'.repeat(64)}  a`, '# note']) {
    const { status, stderr } = run(`${sums}; printf '%s\\n' '${line}' >>SHA256SUMS; check_archive`);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /SHA256SUMS has a line that is no checksum of a file, and nothing of the archive was run/);
  }
});

test('what the server says of itself stands in no line for root but as an address', async (t) => {
  const { run } = await machine(t);
  const tell = (api: string) => run(`version=1\nready=$(printf '%s\\n' '${api}' wss://a:8443 sha256:00)\ntell`);
  const told = tell('https://[::1]:8440');
  assert.match(told.stdout, /^ {2}fairlead --server https:\/\/\[::1\]:8440 --api-token-file .* token create$/m);
  for (const api of ['https://a:8440/;id', 'https://a$(id)', 'https://a --api-token-file /etc/shadow', 'a:8440', '']) {
    const { status, stdout, stderr } = tell(api);
    assert.notEqual(status, 0, stdout);
    assert.notEqual(status, BAD_USAGE);
    assert.doesNotMatch(stdout, /token create/);
    assert.match(stderr, /runtime\.json names addresses that are none/);
  }
});

/** An archive of version 2 in the folder, the script's view of it, and no owners, whom only root can give. */
const ARCHIVE = `
chown() { :; }
version=2
mkdir -p server/bin
echo second >server/bin/node
sha256sum server/bin/node >SHA256SUMS
`;
const PUT = `${ARCHIVE}\nchoose_release\nput_release\nsay "$release"`;
const LIB = 'usr/local/lib/fairlead-server';

test('a version is on the disk before it has its name', async (t) => {
  const { run } = await machine(t);
  const { stdout, stderr } = run(`sync() { ls -A "$work/server/bin"; ls "$LIB_DIR"; }\n${PUT}`);
  assert.equal(stdout, 'node\n2\n', stderr);
});

test('a version that was not written whole is put there anew, beside the one that may run', async (t) => {
  const { at, run } = await machine(t);
  assert.equal(run(PUT).stdout, '2\n');
  assert.equal(run(PUT).stdout, '2\n');
  await writeFile(at(`${LIB}/2/server/bin/node`), '');
  const anew = run(PUT).stdout.trim();
  assert.match(anew, /^2-[0-9a-f]{8}$/);
  assert.equal(await readFile(at(`${LIB}/${anew}/server/bin/node`), 'utf8'), 'second\n');
  assert.equal(run(PUT).stdout.trim(), anew);
  await writeFile(at(`${LIB}/${anew}/SHA256SUMS`), '');
  assert.equal(run(PUT).stdout.trim(), `${anew}-2`);
  assert.equal(await readFile(at(`${LIB}/${anew}-2/server/bin/node`), 'utf8'), 'second\n');
});

/** Upgrades to a version, of which `good` get ready, in place of what needs root and processes. */
const upgrade = (version: string, { good = version, cutOff = false, schema = 'echo 1' } = {}) => `
chown() { :; }
stop_service() { :; }
${cutOff ? 'start_service() { kill -KILL $$; }' : 'start_service() { :; }'}
write_server_service() { :; }
schema_version() { ${schema}; }
wait_until_ready() { case ' ${good} ' in *" $1 "*) ;; *) return 1 ;; esac; }
version=${version}
last_words() { :; }
mkdir -p server/bin
printf '#!/bin/sh\\nexec ${process.execPath} "$@"\\n' >server/bin/node
printf '#!/bin/sh\\necho ${version}\\n' >server/bin/fairlead-server
chmod 755 server/bin/node server/bin/fairlead-server
sha256sum server/bin/node server/bin/fairlead-server >SHA256SUMS
choose_release
put_release
switch_over
remove_old_releases
`;

test('the version to go back to stays, however often the same one is installed', async (t) => {
  const { at, run } = await machine(t);
  for (const version of ['1', '2', '3', '3', '3']) {
    const { status, stderr } = run(upgrade(version));
    assert.equal(status, 0, stderr);
  }
  assert.deepEqual((await readdir(at(LIB))).sort(), ['2', '3', 'current', 'previous']);
  assert.deepEqual([await readlink(at(`${LIB}/current`)), await readlink(at(`${LIB}/previous`))], ['3', '2']);
  // One that does not get ready leaves all as it was.
  assert.match(run(upgrade('4', { good: '3' })).stderr, /version 3 runs again/);
  assert.deepEqual((await readdir(at(LIB))).sort(), ['2', '3', 'current', 'previous']);
  assert.deepEqual([await readlink(at(`${LIB}/current`)), await readlink(at(`${LIB}/previous`))], ['3', '2']);
  // One that runs already, and does not get ready again, is not replaced by an older one.
  assert.match(run(upgrade('3', { good: '2' })).stderr, /it goes on trying/);
  assert.equal(await readlink(at(`${LIB}/current`)), '3');
});

test('an upgrade that was cut off after the switch goes back when it is run again, also by another archive', async (t) => {
  for (const again of ['2', '2.1']) {
    const { at, run } = await machine(t);
    assert.equal(run(upgrade('1')).status, 0);
    run(upgrade('2', { cutOff: true }));
    assert.equal(await readlink(at(`${LIB}/current`)), '2');
    const { status, stderr } = run(upgrade(again, { good: '1' }));
    assert.equal(status, 1);
    assert.match(stderr, /version 1 runs again/);
    assert.equal(await readlink(at(`${LIB}/current`)), '1');
    assert.equal(run(upgrade('1')).status, 0);
    assert.deepEqual(await readdir(at(LIB)), ['1', 'current']);
  }
});

test('an upgrade that was cut off knows what the store was before it', async (t) => {
  const { at, run } = await machine(t);
  assert.equal(run(upgrade('1')).status, 0);
  run(upgrade('2', { cutOff: true }));
  const { stderr } = run(upgrade('2', { good: '1', schema: 'echo 9' }));
  assert.match(stderr, /has brought the store from schema version 1 to 9, which version 1 does not read/);
  assert.equal(await readlink(at(`${LIB}/current`)), '2');
  // As it says: what was there is run by its own installer.
  assert.equal(run(upgrade('1')).status, 0);
  assert.deepEqual(await readdir(at(LIB)), ['1', 'current']);
});

/** As `upgrade`, over a store of which its owner, who is not root, says `said` when its schema is asked for. */
const upgradeOver = (said: string, version: string, options = {}) =>
  upgrade(version, options).replace(/^schema_version.*$/m, `as_user() { printf '${said}'; }`);

test('what the owner of the store says of it leads root nowhere', async (t) => {
  const { at, run, put } = await machine(t);
  for (const version of ['1', '2']) assert.equal(run(upgrade(version)).status, 0);
  await put('data/fairlead.db', '');
  await put(`${dirname(LIB)}/evil/install.sh`, 'id\n');
  assert.match(run(upgradeOver('\\n../evil\\n', '3', { good: '2' })).stderr, /version 2 runs again/);
  assert.equal(await readlink(at(`${LIB}/previous`)), '1');
});

test('what the server writes drives no terminal of root', async (t) => {
  const { run } = await machine(t);
  assert.equal(run(upgrade('1')).status, 0);
  const words = `last_words() { printf '\\033]0;owned\\007\\302\\233c'; }`;
  const { stderr } = run(upgrade('2', { good: '1' }).replace('last_words() { :; }', words));
  assert.match(stderr, /version 1 runs again\. The last words of 2: \?]0;owned\?\?\?c\n$/);
});

test('a dry run names the settings that would be changed', async (t) => {
  const { at, run, put } = await machine(t);
  const file = at('etc/default/fairlead-server');
  await put('etc/default/fairlead-server', `FAIRLEAD_PUBLIC_HOST=a\nFAIRLEAD_DATA_DIR=${at('data')}\n`);
  const plan = (publicHost: string) => run(`public_host=${publicHost}\nversion=1 release=1 previous=1\nplan`).stdout;
  assert.doesNotMatch(plan('a'), /would set/);
  assert.deepEqual(plan('b').match(/^would set .*$/gm), [`would set FAIRLEAD_PUBLIC_HOST in ${file}`]);
});
