/** Steps of the script that installs the agent, with its paths in a temporary folder and without a service manager. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tempDir } from '../../support/tmp.ts';

/** What needs root, a server or processes. */
const STUBS = `
chgrp() { :; }
check_docker() { :; }
check_server() { :; }
check_space() { :; }
is_running() { :; }
stop_plain() { say stopped; }
start_plain() { say started; }
init=none
`;
const RESTARTED = 'stopped\nstarted\n';

async function machine(t: TestContext) {
  const dir = await tempDir(t, 'install-sh');
  for (const folder of ['usr/local/bin', 'run', 'empty']) await mkdir(join(dir, folder), { recursive: true });
  const whole = await readFile('install/install.sh', 'utf8');
  const functions = whole
    .slice(0, whole.indexOf('\ntrap clean_up EXIT\n'))
    .replace(/^(readonly [A-Z_]+=)(?=\/)/gm, `$1${dir}`);
  /** What the script has made in the folder. */
  const at = (path: string) => join(dir, path);
  return {
    at,
    /** Runs `steps` in a shell that has the script's functions. */
    run(steps: string) {
      const input = `${functions}\n${STUBS}\n${steps}\n`;
      const { status, signal, stdout, stderr } = spawnSync('sh', ['-s'], { input, cwd: dir, encoding: 'utf8' });
      return { status, signal, stdout, stderr };
    },
    async put(path: string, text: string) {
      await mkdir(dirname(at(path)), { recursive: true });
      await writeFile(at(path), text, { mode: 0o755 });
    },
  };
}

/** Makes an executable that is not the one there is, and puts it in place. */
const REPLACE = `
work=$(mktemp -d)
trap clean_up EXIT
echo new >"$work/$NAME"
echo 2 >"$work/version"
chmod 755 "$work/$NAME"
put_executable
`;
const IS_CURRENT = 'sha256=$(sha256sum "$BIN" | awk \'{ print $1 }\')';

test('what is set anew has the agent started again, and what stays as it is does not', async (t) => {
  const { at, run } = await machine(t);
  const install = (settings: string) => run(`${settings}\nwrite_environment\nwrite_service\nstart_service`);
  assert.equal(install('docker=/run/a.sock').stdout, RESTARTED);
  assert.equal(install('docker=/run/a.sock').stdout, '');
  assert.equal(install('docker=/run/b.sock').stdout, RESTARTED);
  assert.equal(await readFile(at('etc/default/fairlead-agent'), 'utf8'), 'FAIRLEAD_DOCKER=/run/b.sock\n');
  assert.equal(install('docker=/run/b.sock; proxy=http://proxy:3128; no_proxy_list=a,b').stdout, RESTARTED);
  assert.equal(install('docker=/run/b.sock; proxy=http://proxy:3128; no_proxy_list=a,b').stdout, '');
});

for (const [name, change, again] of [
  ['the executable', REPLACE, 'start_service'],
  ['the executable, by --upgrade', REPLACE, `${IS_CURRENT}\ndo_upgrade | sed '/is current/d'`],
  ['the settings', 'docker=/run/b.sock\nwrite_environment', 'docker=/run/b.sock\nwrite_environment\nstart_service'],
] as const) {
  test(`killed between replacing and starting again, the next run starts it again: ${name}`, async (t) => {
    const { run, put } = await machine(t);
    await put('usr/local/bin/fairlead-agent', 'old\n');
    assert.equal(run('write_service\nstart_service').stdout, RESTARTED);
    const killed = run(`${change}\nrm -rf "$work"\nkill -KILL $$`);
    assert.equal(killed.signal, 'SIGKILL');
    assert.equal(run(again).stdout, RESTARTED);
    assert.equal(run(again).stdout, '');
  });
}

test('a start that fails is tried again by the next run', async (t) => {
  const { run } = await machine(t);
  assert.notEqual(run('write_service\nstart_plain() { fail "it does not start"; }\nstart_service').status, 0);
  assert.equal(run('write_service\nstart_service').stdout, RESTARTED);
});

test('without a folder of its own nothing is fetched', async (t) => {
  const { run, put } = await machine(t);
  await put('usr/local/bin/fairlead-agent', 'old\n');
  for (const mktemp of ['return 1', ':']) {
    for (const action of ['do_install', 'do_upgrade']) {
      const { status, stdout, stderr } = run(
        `is_enrolled() { :; }; sha256=other; mktemp() { ${mktemp}; }; fetch() { echo "fetched to $2"; exit 0; }; ${action}`,
      );
      assert.equal(status, 1, stdout + stderr);
      assert.doesNotMatch(stdout, /fetched/);
      assert.match(stderr, /^install\.sh: .*folder.*usr\/local\/bin/);
    }
  }
});

test('a file that cannot be written whole is not put in place', async (t) => {
  for (const [init, file] of [
    ['systemd', 'etc/systemd/system/fairlead-agent.service'],
    ['openrc', 'usr/local/lib/fairlead-agent/keep-running'],
    ['none', 'usr/local/lib/fairlead-agent/keep-running'],
  ] as const) {
    const { at, run, put } = await machine(t);
    await put(file, 'as before');
    await symlink('/dev/full', at(`${file}.new`));
    const { status, stdout, stderr } = run(`systemctl() { say "$@"; }\ninit=${init}\nwrite_service\nsay 'goes on'`);
    assert.deepEqual([status, stdout], [1, ''], stderr);
    assert.match(stderr, new RegExp(`install\\.sh: .*${file} cannot be written\n$`));
    assert.equal(await readFile(at(file), 'utf8'), 'as before');
  }
});

test('a tag with a star is no pattern of files', async (t) => {
  const { run, put } = await machine(t);
  await put('usr/local/bin/fairlead-agent', '#!/bin/sh\necho "$@"\n');
  await put('tag-of-a-file', '');
  const { stdout } = run("parse --tag 'tag*' --tag lab\nenroll");
  assert.match(stdout, / --tag tag\* --tag lab\n$/);
});
