/** The line that `token create` prints, on clean machines: with systemd, with OpenRC, with neither, and with BusyBox. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { before, type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { copyBuild, plainBuild } from '../support/agent-builds.ts';
import { connectProxy } from '../support/connect-proxy.ts';
import { assertUnchanged, contentOf, type Machine, type MachineKind, startMachine } from '../support/machines.ts';
import { newToken, type Server, startServer, waitForState } from '../support/mesh.ts';
import { listenIn } from '../support/network.ts';
import { requireRoots } from '../support/roots.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
const LINK = '/usr/local/bin/fairlead-agent';
const EXECUTABLE = '/var/lib/fairlead-agent/bin/fairlead-agent';
const AGAIN_MS = 20_000;
const AGENT_PIDS = `for p in $(ls /proc); do case $p in *[!0-9]*) ;; *) [ "$(readlink /proc/$p/exe)" = ${EXECUTABLE} ] && echo $p ;; esac; done`;
const KEEPERS =
  "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '^/usr/local/lib/fairlead-agent/[k]eep-running$'";
/** Files that are not the executable: what is written on the spot. */
const SMALL_FILES = 'find /etc /usr/local /var /run /tmp /root -type f -size -8192 ! -name docker.sock';

/** The executable that the server serves. */
let made: { file: string; sha256: string };
let server: Server;

before(async () => {
  const filesDir = await tempDir(shared, 'agent-files');
  const plain = await plainBuild();
  made = { file: await copyBuild(plain, filesDir), sha256: plain.facts.sha256 };
  [server] = await Promise.all([startServer(shared, { args: ['--agent-files', filesDir] }), requireRoots()]);
});

async function newLine(body: Record<string, unknown> = {}): Promise<{ line: string; token: string }> {
  const { installCommand, token } = (await newToken(server, body)) as unknown as Record<string, string>;
  return { line: installCommand ?? '', token: token ?? '' };
}

/** Runs `script`, which must succeed. */
async function done(machine: Machine, script: string): Promise<string> {
  const { code, out } = await machine.sh(script);
  assert.equal(code, 0, `${machine.kind}: ${out}`);
  return out;
}

/** How a service manager tells that a service has ended and that it will not be started again. */
async function assertStaysDown(machine: Machine): Promise<void> {
  if (machine.kind === 'systemd') {
    const show = 'systemctl show -p ActiveState,SubState,ExecMainStatus fairlead-agent';
    await waitFor('a failed unit', async () => /ActiveState=failed/.test((await machine.sh(show)).out));
    // Between two starts it would be in auto-restart.
    assert.deepEqual((await machine.sh(show)).out.trim().split('\n').sort(), [
      'ActiveState=failed',
      'ExecMainStatus=3',
      'SubState=failed',
    ]);
    return;
  }
  await waitFor('the end of what would start it again', async () => (await machine.sh(KEEPERS)).out.trim() === '0');
  assert.equal((await machine.sh(AGENT_PIDS)).out, '');
  if (machine.kind === 'openrc') {
    assert.match((await machine.sh('rc-service fairlead-agent status')).out, /crashed|stopped/);
  }
}

/** What is there once the line has done its work. */
async function assertInstalled(machine: Machine, token: string): Promise<void> {
  const processes = await done(machine, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'");
  // Of the token, the part that is secret.
  assert.ok(!processes.includes(token.slice(0, 60)), 'the token is in a process');
  const pattern = token.slice(0, 60).replaceAll('.', '[.]');
  assert.equal((await machine.sh(`${SMALL_FILES} -exec grep -l '${pattern}' {} +`)).out, '');
  const modes =
    "stat -c '%a %U %n' /etc/fairlead-agent /etc/default/fairlead-agent /var/lib/fairlead-agent /var/lib/fairlead-agent/bin";
  assert.deepEqual((await done(machine, `${modes} ${EXECUTABLE}; readlink ${LINK}`)).trim().split('\n'), [
    '700 fairlead-agent /etc/fairlead-agent',
    '640 root /etc/default/fairlead-agent',
    '755 root /var/lib/fairlead-agent',
    '755 fairlead-agent /var/lib/fairlead-agent/bin',
    `755 fairlead-agent ${EXECUTABLE}`,
    EXECUTABLE,
  ]);
  const [pid = '', ...others] = (await done(machine, AGENT_PIDS)).trim().split('\n');
  assert.deepEqual(others, []);
  const status = await done(
    machine,
    `cat /proc/${pid}/status; id -u fairlead-agent; tr '\\0' '\\n' </proc/${pid}/environ`,
  );
  const uid = /^Uid:\t(\d+)/m.exec(status)?.[1];
  assert.match(status, new RegExp(`^${uid}$`, 'm'));
  assert.notEqual(uid, '0');
  assert.match(status, /^FAIRLEAD_SUPERVISED=1$/m);
  assert.match(status, /^CapEff:\t0+$/m);
}

/** What later runs of the line change. */
async function change(machine: Machine, line: string): Promise<void> {
  const before = await done(machine, AGENT_PIDS);
  await done(
    machine,
    `ln -s docker.sock /run/other.sock; ${line.replace('--token -', '--token - --docker /run/other.sock')}`,
  );
  const moved = (await done(machine, AGENT_PIDS)).trim();
  assert.notEqual(moved, before.trim());
  assert.match(await done(machine, `tr '\\0' '\\n' </proc/${moved}/environ`), /^FAIRLEAD_DOCKER=\/run\/other\.sock$/m);

  // Not in place: it is running.
  await done(machine, `cp -p ${EXECUTABLE} /tmp/older && echo >>/tmp/older && mv /tmp/older ${EXECUTABLE}`);
  assert.match(
    await done(machine, line.replace('--token -', '--upgrade')),
    /installed \/var\/lib\/fairlead-agent\/bin\/fairlead-agent, version .*, in place of version/,
  );
  assert.notEqual((await done(machine, AGENT_PIDS)).trim(), moved);
  assert.match(await done(machine, line.replace('--token -', '--upgrade')), /is current/);

  // Root's own, which is remembered, and the agent's again.
  const owner = `stat -c '%F, %U' ${LINK}; ls -d /var/lib/fairlead-agent/bin`;
  await done(machine, line.replace('--token -', '--upgrade --no-self-upgrade'));
  assert.match(await done(machine, line), /\/usr\/local\/bin\/fairlead-agent is current/);
  assert.match((await machine.sh(owner)).out, /^regular file, root\nls: cannot access/);
  await done(machine, line.replace('--token -', '--token - --self-upgrade'));
  assert.match((await machine.sh(owner)).out, /^symbolic link, root\n\/var/);
  assert.notEqual(await done(machine, AGENT_PIDS), '');
  await done(machine, 'rm /run/other.sock');
}

/** The whole life of an installation, but for what is told apart below. */
async function live(t: TestContext, kind: MachineKind, options = ''): Promise<void> {
  const machine = await startMachine(t, kind);
  const host = `clean-${kind}`;
  // One of the two fetches it.
  if (kind === 'openrc') await done(machine, 'rm /usr/bin/curl');
  const before = await contentOf(machine);
  const { line, token } = await newLine({ hostName: host });
  const out = await done(machine, line.replace('--token -', `--token -${options}`));
  assert.match(out, /the agent runs and is connected/);
  await waitForState(server, host, 'online');
  await assertInstalled(machine, token);

  const pids = await done(machine, AGENT_PIDS);
  const list = "find /etc /usr/local /var/lib/fairlead-agent -type f -exec stat -c '%n %s %Y %U %a' {} +";
  const files = await done(machine, list);
  const { line: again } = await newLine();
  assert.match(await done(machine, again), /is current[\s\S]*enrolled already/);
  assert.equal(await done(machine, AGENT_PIDS), pids);
  const rest = (text: string) => text.split('\n').filter((each) => !/run\.json|\/passwd|\/group/.test(each));
  assert.deepEqual(rest(await done(machine, list)), rest(files));

  if (kind === 'none') await change(machine, again);
  const first = await done(machine, AGENT_PIDS);
  await done(machine, `kill -9 ${first.trim()}`);
  await waitFor(
    'another start',
    async () => {
      const now = (await machine.sh(AGENT_PIDS)).out;
      return now !== '' && now !== first;
    },
    { timeoutMs: AGAIN_MS, everyMs: 250 },
  );
  await waitForState(server, host, 'online');

  const revoked = await server.api.post(`/api/v1/hosts/${host}/revoke`, { reason: 'a test' });
  assert.ok(revoked.status < 300, revoked.text);
  await assertStaysDown(machine);

  const removed = await done(machine, again.replace('--token -', '--uninstall'));
  assert.match(removed, /the agent is removed/);
  await assertUnchanged(machine, before);
}

test('one pasted line installs, enrolls and starts the agent, changes nothing again, and goes without a trace', {
  concurrency: 2,
}, async (t) => {
  const lives: [name: string, kind: MachineKind, options?: string][] = [
    ['without a service manager', 'none'],
    ['with OpenRC', 'openrc'],
    ['with systemd', 'systemd'],
    // By a proxy that is not there, for all but this server.
    ['with BusyBox', 'busybox', ' --proxy http://127.0.0.1:9 --no-proxy localhost'],
  ];
  await Promise.all(lives.map(([name, kind, options]) => t.test(name, (each) => live(each, kind, options))));
});

test('behind a proxy the script, the agent and its session come through that', async (t) => {
  // Nothing but a loopback device: whatever gets out does so by the proxy, which listens there.
  const machine = await startMachine(t, 'none', { network: 'none' });
  const proxy = connectProxy(t, await listenIn(await machine.network()));
  const { line } = await newLine({ hostName: 'proxied' });
  const alone = await machine.sh(line);
  assert.equal(alone.code, 1);
  assert.match(
    alone.out,
    /not fetched: this needs curl or GNU wget, and a way to https:\/\/localhost:\d+\/install\.sh/,
  );

  const proxied = line.replace('--token -', `--token - --proxy ${proxy.url}`);
  const past = await machine.sh(
    `export https_proxy=${proxy.url}; ${proxied.replace('--proxy', '--no-proxy localhost --proxy')}`,
  );
  assert.match(past.out, /localhost:\d+ cannot be reached/);

  await done(machine, `export https_proxy=${proxy.url}; ${proxied}`);
  await waitForState(server, 'proxied', 'online');
  const ports = [server.runtime.apiUrl, server.runtime.agentUrl].map((url) => `localhost:${new URL(url).port}`);
  assert.deepEqual([...new Set(proxy.asked)].sort(), ports.sort());
  const { body } = await server.api.get('/api/v1/hosts/proxied/containers');
  assert.ok(Array.isArray(body.items), JSON.stringify(body));
  // What enrolls and starts it later has it from the settings.
  const { line: again } = await newLine();
  assert.match(await done(machine, `export https_proxy=${proxy.url}; ${again}`), /enrolled already/);
  assert.equal(await done(machine, 'cat /etc/default/fairlead-agent'), `HTTPS_PROXY=${proxy.url}\n`);
  await done(machine, `export https_proxy=${proxy.url}; ${again.replace('--token -', '--uninstall')}`);
  await waitForState(server, 'proxied', 'revoked');
});

test('nothing is run that the server does not vouch for, and what is lacking is said', async (t) => {
  const machine = await startMachine(t, 'none');
  const compressed = await readFile(`${made.file}.gz`);
  t.after(() => writeFile(`${made.file}.gz`, compressed));
  await writeFile(`${made.file}.gz`, gzipSync('#!/bin/sh\necho run >/run/it\n'));
  const { line } = await newLine();
  const before = await contentOf(machine);
  const refused = await machine.sh(line);
  assert.equal(refused.code, 1);
  assert.match(refused.out, new RegExp(`sha256 [0-9a-f]{64} instead of ${made.sha256}\\): nothing of it was run`));
  await assertUnchanged(machine, before);

  const other = await machine.sh(line.replace(/echo "[0-9a-f]{64}/, `echo "${'0'.repeat(64)}`));
  assert.equal(other.code, 1, other.out);

  const told = async (args: string, why: RegExp, prepare = ':', user = 'root') => {
    const { code, out } = await machine.sh(`${prepare}; ${line.replace(/\)$/, ` ${args})`)}`, user);
    assert.notEqual(code, 0, out);
    assert.match(out, why);
  };
  await told('', /this needs root: put sudo before sh/, ':', 'nobody');
  await told('--docker /nowhere.sock', /Docker is not reachable: there is no socket \/nowhere\.sock/);
  await told('--init systemd', /systemd does not run here: --init openrc or --init none/);
  await told('--tag "a;b"', /characters that stand in no name/);
  // Found before Debian's own.
  const fake = (name: string, text: string) =>
    `printf '#!/bin/sh\\n${text}\\n' >/usr/local/bin/${name}; chmod 755 /usr/local/bin/${name}`;
  await told('', /clock is wrong: it is \d+ s behind the server's/, fake('date', 'echo 0'));
  const small = `rm /usr/local/bin/date; ${fake('df', 'echo - - - 2048 -')}`;
  await told('', /too little space in \/var\/lib\/fairlead-agent: 2 MiB are free/, small);
  await machine.sh('rm /usr/local/bin/df');
  const dry = await done(machine, line.replace(/\)$/, ' --dry-run)'));
  assert.match(
    dry,
    /would install the agent for linux\/x64[\s\S]*would enroll this host[\s\S]*would start the agent by none/,
  );
  await assertUnchanged(machine, before);
});

test("BusyBox's wget fetches nothing from the server, which is said", async (t) => {
  const machine = await startMachine(t, 'busybox');
  const { line } = await newLine();
  const withoutCurl = await machine.sh(`mv /usr/bin/curl /usr/bin/curl.away; ${line}`);
  assert.equal(withoutCurl.code, 1, withoutCurl.out);
  assert.match(withoutCurl.out, /not fetched: this needs curl or GNU wget/);
  const url = `${server.runtime.apiUrl}/install.sh`;
  const script = `mv /usr/bin/curl.away /usr/bin/curl; curl -sk -o /tmp/i ${url}; mv /usr/bin/curl /usr/bin/curl.away; sh /tmp/i --dry-run`;
  const bare = await machine.sh(`${script} --token-file /etc/hostname`);
  assert.match(bare.out, /neither curl nor GNU wget is here, and BusyBox has no wget that the server would talk to/);
});
