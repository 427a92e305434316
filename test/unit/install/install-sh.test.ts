/** Steps of the script that installs the agent, with its paths in a temporary folder and without a service manager. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, readlink, symlink } from 'node:fs/promises';
import { test } from 'node:test';
import { machine, OWN_AS_USER } from './install-sh-machine.ts';

const RESTARTED = 'stopped\nstarted\n';

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
  const install = (settings: string) => run(`${settings}\nwrite_agent_service\nstart_service`);
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
  ['the settings', 'docker=/run/b.sock\nwrite_agent_service', 'docker=/run/b.sock\nwrite_agent_service\nstart_service'],
] as const) {
  test(`killed between replacing and starting again, the next run starts it again: ${name}`, async (t) => {
    const { run, put } = await machine(t);
    await put('usr/local/bin/fairlead-agent', 'old\n');
    assert.equal(run('write_agent_service\nstart_service').stdout, RESTARTED);
    const killed = run(`${change}\nrm -rf "$work"\nkill -KILL $$`);
    assert.equal(killed.signal, 'SIGKILL');
    assert.equal(run(again).stdout, RESTARTED);
    assert.equal(run(again).stdout, '');
  });
}

test('a start that fails is tried again by the next run', async (t) => {
  const { run } = await machine(t);
  assert.notEqual(run('write_agent_service\nstart_plain() { fail "it does not start"; }\nstart_service').status, 0);
  assert.equal(run('write_agent_service\nstart_service').stdout, RESTARTED);
});

test('without a folder of its own nothing is fetched', async (t) => {
  const { run, put } = await machine(t);
  await put('usr/local/bin/fairlead-agent', 'old\n');
  for (const mktemp of ['return 1', ':']) {
    for (const action of ['do_install', 'do_upgrade']) {
      const { status, stdout, stderr } = run(
        `is_enrolled() { :; }; check_membership() { :; }; sha256=other; mktemp() { ${mktemp}; }; fetch() { echo "fetched to $2"; exit 0; }; ${action}`,
      );
      assert.equal(status, 1, stdout + stderr);
      assert.doesNotMatch(stdout, /fetched/);
      assert.match(stderr, /^install\.sh: .*folder.*var\/lib\/fairlead-agent\n$/);
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
    const { status, stdout, stderr } = run(
      `systemctl() { say "$@"; }\ninit=${init}\nwrite_agent_service\nsay 'goes on'`,
    );
    assert.deepEqual([status, stdout], [1, ''], stderr);
    assert.match(stderr, new RegExp(`install\\.sh: .*${file} cannot be written\n$`));
    assert.equal(await readFile(at(file), 'utf8'), 'as before');
  }
});

test('a tag with a star is no pattern of files', async (t) => {
  const { run, put } = await machine(t);
  await put('var/lib/fairlead-agent/bin/fairlead-agent', '#!/bin/sh\necho "$@"\n');
  await put('tag-of-a-file', '');
  const { stdout } = run("parse --tag 'tag*' --tag lab\nenroll");
  assert.match(stdout, / --tag tag\* --tag lab\n$/);
});

/** An executable that says its version. */
const version = (text: string) => `#!/bin/sh\necho ${text}\n`;
/** What replaces an executable, but for the network. */
const DOWNLOAD = `
sha256=other
download() {
  work=$(mktemp -d)
  trap clean_up EXIT
  printf '#!/bin/sh\\necho 0.10.0\\n' >"$work/$NAME"
  echo '0.10.0 (abc)' >"$work/version"
  chmod 755 "$work/$NAME"
}
check_executable
`;
const LINK = 'usr/local/bin/fairlead-agent';
const OWN = 'var/lib/fairlead-agent/bin/fairlead-agent';

test("an executable that was root's becomes the agent's, by a second run or --upgrade, and root's again when told so", async (t) => {
  for (const action of ['install', 'upgrade']) {
    const { at, run, put } = await machine(t);
    await put(LINK, version('0.1.0'));
    const { stdout, stderr } = run(`${DOWNLOAD}action=${action}\nreplace_executable`);
    assert.match(
      stdout,
      /^installed .*\/var\/lib\/.*, version 0\.10\.0 \(abc\), in place of version 0\.1\.0\n$/,
      stderr,
    );
    assert.equal(await readlink(at(LINK)), at(OWN));
    assert.equal(await readFile(at(LINK), 'utf8'), version('0.10.0'));
  }
  const { at, run, put } = await machine(t);
  await put(OWN, version('0.1.0'));
  await symlink(at(OWN), at(LINK));
  const back = run(`self_upgrade=no\nchoose_executable\n${DOWNLOAD}\nreplace_executable\nwrite_agent_service`);
  assert.match(back.stdout, /^installed .*\/usr\/local\/bin\/.*, version 0\.10\.0/, back.stderr);
  assert.equal(await readFile(at(LINK), 'utf8'), version('0.10.0'));
  await assert.rejects(readlink(at(LINK)));
  await assert.rejects(readFile(at(OWN)), { code: 'ENOENT' });
  assert.equal(run('self_upgrade=; recall_settings; choose_executable; say "$BIN"').stdout, `${at(LINK)}\n`);
  assert.equal(run('self_upgrade=yes; recall_settings; choose_executable; say "$BIN"').stdout, `${at(OWN)}\n`);
});

test('a second run keeps an executable that is newer than that of the server, and --upgrade does not', async (t) => {
  const { at, run, put } = await machine(t);
  for (const [there, action, kept] of [
    ['0.11.0 (abc)', 'install', true],
    ['0.11.0 (abc)', 'upgrade', false],
    ['0.9.9', 'install', false],
    ['0.10.0', 'install', false],
  ] as const) {
    await put(OWN, version(`'${there}'`));
    await put(`${OWN}.previous`, 'an older one\n');
    await symlink(at(OWN), at(LINK)).catch((error) => assert.equal(error.code, 'EEXIST'));
    const { stdout } = run(`${DOWNLOAD}action=${action}\nreplace_executable`);
    assert.equal(await readFile(at(OWN), 'utf8'), kept ? version(`'${there}'`) : version('0.10.0'), stdout);
    assert.match(
      stdout,
      new RegExp(kept ? 'version 0\\.11\\.0 .*newer.*0\\.10\\.0' : 'version 0\\.10\\.0.*place of version'),
    );
    if (!kept) await assert.rejects(readFile(at(`${OWN}.previous`)), { code: 'ENOENT' });
  }
});

test('settings that others have put into the file stay', async (t) => {
  const { at, run, put } = await machine(t);
  await put(
    'etc/default/fairlead-agent',
    '# ours\nFAIRLEAD_DENY=exec\nFAIRLEAD_DOCKER=/run/a.sock\nHTTPS_PROXY=http://p:1',
  );
  run("recall_settings\nparse --docker '/run/[b]*.sock'\nproxy=\nwrite_agent_service");
  const settings = await readFile(at('etc/default/fairlead-agent'), 'utf8');
  assert.equal(settings, 'FAIRLEAD_DOCKER=/run/[b]*.sock\n# ours\nFAIRLEAD_DENY=exec\n');
});

test("what runs as the agent's user has no terminal of root's, and is waited for with its exit code", async (t) => {
  const { at, run, put } = await machine(t);
  // The sixth field is the session, which is the terminal's.
  await put('fake/su', '#!/bin/sh\nread -r stat </proc/$$/stat; set -- $stat; echo "$6"; cat; exit 7\n');
  const { stdout } = run(
    `PATH=${at('fake')}:$PATH
    read -r stat </proc/$$/stat; set -- $stat; echo "$6"
    echo given | as_user : || echo "code $?"
    found=$(as_user : </dev/null) || echo "code $? of $found"`,
    OWN_AS_USER,
  );
  const [own, session, given, code, last] = stdout.split('\n');
  assert.match(session ?? '', /^\d+$/);
  assert.notEqual(session, own);
  assert.deepEqual([given, code], ['given', 'code 7']);
  assert.match(last ?? '', /^code 7 of \d+$/);
  assert.ok(!last?.endsWith(` ${own}`), stdout);
});

const CA = '-----BEGIN CERTIFICATE-----\nTUlJ\nRm8=\n-----END CERTIFICATE-----\n';
const OTHER_CA = CA.replace('TUlJ', 'TUlK');

test('a host of another installation stays what it is, before anything of it is changed', async (t) => {
  const { run, put } = await machine(t);
  await put('etc/fairlead-agent/agent.json', '{\n  "name": "shed",\n  "server": "https://a:8440",\n  "x": 1\n}\n');
  await put('etc/fairlead-agent/ca.pem', OTHER_CA + CA);
  const check = (server: string, ca: string, action = 'check_membership') =>
    run(
      `SERVER=${server}; CA_PEM='${ca}'; token=t; sha256=x; fetch() { say fetched; exit 0; }; check_executable\n${action}`,
    );
  for (const action of ['check_membership', 'do_install', 'do_upgrade']) {
    await put(LINK, version('0.1.0'));
    const { status, stdout, stderr } = check('https://b:8440', CA.replace('TUlJ', 'TUlL'), action);
    assert.deepEqual([status, stdout], [1, ''], action);
    assert.match(stderr, /enrolled at https:\/\/a:8440, which is another installation: .*--uninstall/);
  }
  // The same server, after its CA was replaced; the same CA by another name; a certificate that machines know by themselves.
  for (const [server, ca] of [
    ['https://a:8440', CA.replace('TUlJ', 'TUlL')],
    ['https://b:8440', CA],
    ['https://b:8440', OTHER_CA],
    ['https://b:8440', ''],
  ] as const) {
    assert.deepEqual(check(server, ca), { status: 0, signal: null, stdout: '', stderr: '' });
  }
});

test('what a host that is enrolled already does not take up is said', async (t) => {
  const { run, put } = await machine(t);
  await put('etc/fairlead-agent/agent.json', '{}\n');
  const join = (options: string) => run(`token=t\nparse ${options}\njoin_mesh`).stdout;
  assert.equal(join(''), 'this host is enrolled already; its token was not used\n');
  assert.match(join('--name shed'), /token was not used, nor were --name and --tag: .*fairlead host rename.*host tag/);
  assert.match(join('--tag lab'), /nor were --name and --tag/);
});

test('an agent that has ended for good is not waited for, and its last words are shown', async (t) => {
  const { run, put } = await machine(t);
  await put('var/log/fairlead-agent.log', 'this host was revoked\n');
  await put(OWN, '#!/bin/sh\necho \'{ "connected": false }\'\n');
  const wait = (is: string, steps = '') =>
    run(`is_running() { ${is}; }; sleep() { say waited; }; log_hint() { say log; }\n${steps}\nwait_until_connected`);
  const ended = wait('return 1');
  assert.deepEqual([ended.status, ended.stdout], [1, '']);
  assert.match(ended.stderr, /has ended, and is not started again\. .*this host was revoked/);
  const going = wait('return 0');
  assert.deepEqual([going.status, going.stdout], [1, 'waited\n'.repeat(20)]);
  assert.match(going.stderr, /goes on trying/);
  // Between two starts of systemd it is neither active nor has it ended.
  const systemd = (state: string) =>
    wait('return 3', `init=systemd; systemctl() { say ${state}; return 3; }; journalctl() { say 'from the journal'; }`);
  assert.match(systemd('activating').stderr, /goes on trying/);
  assert.match(systemd('failed').stderr, /is not started again\. .*from the journal/);
});

test('a host whose agent does not reach Docker is told so at the end', async (t) => {
  const { run, put } = await machine(t);
  const end = async (reachable: boolean) => {
    await put(OWN, `#!/bin/sh\necho '"docker": { "reachable": ${reachable} }, "connected": true'\n`);
    const { status, stdout, stderr } = run('docker=tcp://127.0.0.1:1\nwait_until_connected\ntell_docker');
    assert.deepEqual([status, stderr], [0, '']);
    return stdout;
  };
  assert.equal(await end(true), '');
  assert.match(await end(false), /note: .*Docker at tcp:\/\/127\.0\.0\.1:1.*fairlead-agent doctor/);
});

test('a dry run names the settings that would be changed, and no values', async (t) => {
  const { at, run, put } = await machine(t);
  await put('etc/default/fairlead-agent', 'FAIRLEAD_DOCKER=/run/a.sock\nHTTPS_PROXY=http://p:1\n');
  const plan = (settings: string) => run(`recall_settings\n${settings}\ncheck_executable\nplan_install`).stdout;
  const file = at('etc/default/fairlead-agent');
  assert.doesNotMatch(plan(':'), /would set/);
  const changed = plan('docker=; proxy=http://user:secret@p:1').match(/^would set .*$/gm);
  assert.deepEqual(changed, [`would set FAIRLEAD_DOCKER in ${file}`, `would set HTTPS_PROXY in ${file}`]);
  assert.equal(await readFile(file, 'utf8'), 'FAIRLEAD_DOCKER=/run/a.sock\nHTTPS_PROXY=http://p:1\n');
});

test('what a run that was killed has downloaded goes with the next run, and with --uninstall', async (t) => {
  const { at, run, put } = await machine(t);
  const left = ['usr/local/bin/.fairlead-agent.aB3xY9', 'var/lib/fairlead-agent/.fairlead-agent.aB3xY9'] as const;
  const leave = async () => {
    for (const folder of left) await put(`${folder}/fairlead-agent.gz`, 'half');
    await put('usr/local/bin/.fairlead-agent.conf', 'not of this script');
  };
  for (const [selfUpgrade, gone] of [
    ['no', left[0]],
    ['', left[1]],
  ] as const) {
    await leave();
    const { stderr } = run(`self_upgrade=${selfUpgrade}; choose_executable; fetch() { fail 'no network'; }; download`);
    assert.match(stderr, /no network/);
    assert.equal(existsSync(at(gone)), false, gone);
  }
  await leave();
  const { status, stderr } = run('remove_user() { :; }\ndo_uninstall');
  assert.equal(status, 0, stderr);
  for (const folder of left) assert.equal(existsSync(at(folder)), false, folder);
  assert.equal(existsSync(at('usr/local/bin/.fairlead-agent.conf')), true);
});

test('a dry run needs no token, and says that the run will', async (t) => {
  const { run } = await machine(t);
  const install = (settings: string) => run(`${settings}\nsha256=other\ndo_install`);
  const planned = install('dry_run=yes');
  assert.deepEqual([planned.status, planned.stderr], [0, '']);
  assert.match(planned.stdout, /^would enroll this host at .*, by the token that it is given then$/m);
  assert.doesNotMatch(install('dry_run=yes; token=t').stdout, /given then/);
  const bare = install('dry_run=');
  assert.deepEqual([bare.status, bare.stdout], [2, '']);
  assert.match(bare.stderr, /a token is needed: --token - reads it from stdin/);
});
