/** The agent as one file, as it is built for hosts without Node, and its way onto them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { buildExecutable, buildExecutables, type Made } from '../../install/build/executable.ts';
import { VERSION } from '../../shared/version.ts';
import { DOCKER_SOCKET, requireDocker, testContainer } from '../support/docker.ts';
import { launchCommand } from '../support/launcher.ts';
import { enroll, newToken, type Server, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';

const run = promisify(execFile);
/** Beside it the pages of the file are resident that have been used: they are shared, and the kernel takes them when it needs them. */
const MAX_OWN_KIB = 40 * 1024;

const shared = fileCleanup();
let filesDir: string;
let made: Made;
/** Made at the same time. */
let madeAgain: Buffer;
let server: Server;

before(async () => {
  await requireDocker();
  filesDir = await tempDir(shared, 'agent-files');
  const [running, [first], again] = await Promise.all([
    startServer(shared, { args: ['--agent-files', filesDir] }),
    // Not made small, which nothing here depends on and which takes longest.
    buildExecutables(['linux-x64'], filesDir, { gzipLevel: 0 }),
    buildExecutable('linux-x64'),
  ]);
  assert.ok(first);
  [server, made, madeAgain] = [running, first, again];
});

test('says what it is, and loads nothing from folders around it', async () => {
  const dir = dirname(made.file);
  for (const name of ['bufferutil', 'utf-8-validate', 'pino-pretty', 'supports-color', 'ssh2']) {
    const module = join(dir, 'node_modules', name);
    await mkdir(module, { recursive: true });
    await writeFile(join(module, 'index.js'), "process.stdout.write('loaded from a folder\\n');");
  }
  const options = { cwd: dir, env: { NODE_OPTIONS: '--require=bufferutil' } };
  const { stdout: version, stderr } = await run(made.file, ['--version'], options);
  assert.match(version, new RegExp(`^${VERSION.replaceAll('.', '\\.')}( \\([0-9a-f]{40}(-changed)?\\))?\\n$`));
  assert.equal(stderr, '');
  const { stdout: help } = await run(made.file, ['run', '--help'], options);
  assert.match(help, /^Usage: fairlead-agent run /);
});

test('is the same each time, and what is beside it is it', async () => {
  const executable = await readFile(made.file);
  const sha256 = createHash('sha256').update(executable).digest('hex');
  assert.equal(sha256, made.sha256);
  assert.equal(await readFile(`${made.file}.sha256`, 'utf8'), `${sha256}  fairlead-agent\n`);
  assert.ok(gunzipSync(await readFile(`${made.file}.gz`)).equals(executable));
  assert.ok(madeAgain.equals(executable));
});

test('holds a session with little memory of its own', async (t) => {
  const { stateDir } = await enroll(t, server, 'one-file');
  const agent = launchCommand(t, made.file, ['run', '--state-dir', stateDir]);
  await waitForState(server, 'one-file', 'online');
  const { body } = await server.api.get('/api/v1/hosts/one-file/containers?all=1');
  assert.ok(Array.isArray(body.items), JSON.stringify(body));
  const status = await readFile(`/proc/${agent.pid}/status`, 'utf8');
  const kibOf = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  const ownKib = kibOf('RssAnon');
  t.diagnostic(`${ownKib} KiB of its own, ${kibOf('RssFile')} KiB of files`);
  assert.ok(ownKib <= MAX_OWN_KIB, `${ownKib} KiB are the agent's own: ${status}`);
  assert.deepEqual(await agent.stop(), { code: 0, signal: null });
});

/** A machine without a service manager that has BusyBox, some of this one's tools and libraries, and Docker's socket. */
async function bareMachine(t: TestContext, tools: readonly string[]) {
  const { gid } = await stat(DOCKER_SOCKET);
  const parts = ['/lib', '/lib64', '/usr/lib', '/usr/sbin'].map((path) => `${path}:${path}:ro`);
  parts.push(...tools.map((path) => `${path}:ro`), `${DOCKER_SOCKET}:/var/run/docker.sock`);
  const { name } = await testContainer(t, {
    config: { HostConfig: { NetworkMode: 'host', Binds: parts } },
  });
  const sh = async (script: string, user = 'root'): Promise<{ code: number; out: string }> => {
    const args = [
      '-H',
      `unix://${DOCKER_SOCKET}`,
      'exec',
      '-u',
      user,
      '-e',
      'PATH=/usr/sbin:/usr/bin:/bin',
      name,
      'sh',
      '-c',
      script,
    ];
    const {
      code = 0,
      stdout,
      stderr,
    } = await run('docker', args).then(
      (ended) => ({ ...ended, code: 0 }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );
    return { code, out: stdout + stderr };
  };
  await sh(`groupadd -g ${gid} docker && mkdir -p /usr/local/bin /run /var/log && chmod 1777 /tmp`);
  return { sh, installLine: async (body = {}) => (await newToken(server, body)) as unknown as Record<string, string> };
}

/** What a machine is made of, but for the backups of lists of users. */
const FILES = "find / -xdev -type f ! -path '/proc/*' ! -path '/sys/*' ! -name '*-' | sort; cat /etc/passwd /etc/group";

/** Those that are written on the spot: not the executable. */
const SMALL_FILES = 'find /etc /usr/local /run /var/log /tmp /root -type f -size -8192';

test('one pasted line installs, enrolls and starts it; again it changes nothing; and it goes without a trace', async (t) => {
  const { sh, installLine } = await bareMachine(t, ['/usr/bin/curl:/usr/bin/curl']);
  const before = await sh(FILES);
  const { installCommand = '', token = '' } = await installLine({ hostName: 'bare' });

  const other = await sh(installCommand.replace(/echo "[0-9a-f]{64}/, `echo "${'0'.repeat(64)}`));
  assert.equal(other.code, 1, other.out);
  assert.deepEqual(await sh(FILES), before);

  const installed = await sh(installCommand);
  assert.equal(installed.code, 0, installed.out);
  await waitForState(server, 'bare', 'online');
  const seen = await sh(
    `cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; ${SMALL_FILES} -exec grep -l '${token.replace('.', '[.]')}' {} +; ` +
      "stat -c '%a %U %n' /etc/fairlead-agent /etc/default/fairlead-agent; ps -o user,args | grep '[f]airlead-agent run'",
  );
  // The command that looks has it with brackets, so that it does not find itself.
  assert.ok(!seen.out.includes(token), seen.out);
  assert.doesNotMatch(seen.out, /^\/(etc|usr|run|var|tmp|root)\//m);
  assert.match(seen.out, /^700 fairlead-agent \/etc\/fairlead-agent$/m);
  assert.match(seen.out, /^640 root \/etc\/default\/fairlead-agent$/m);
  assert.match(seen.out, /^fairlead.* \/usr\/local\/bin\/fairlead-agent run$/m);

  const pid = await sh('cat /run/fairlead-agent.pid');
  const { installCommand: again = '' } = await installLine();
  const second = await sh(again);
  assert.equal(second.code, 0, second.out);
  assert.match(second.out, /is current[\s\S]*enrolled already/);
  assert.deepEqual(await sh('cat /run/fairlead-agent.pid'), pid);

  await sh('ln -s /var/run/docker.sock /run/other.sock');
  const elsewhere = await sh(again.replace('--token -', '--token - --docker /run/other.sock'));
  assert.equal(elsewhere.code, 0, elsewhere.out);
  const restarted = await sh('cat /run/fairlead-agent.pid');
  assert.notDeepEqual(restarted, pid);
  const environment = await sh("cat /proc/[0-9]*/environ | tr '\\0' '\\n'", 'fairlead-agent');
  assert.match(environment.out, /^FAIRLEAD_DOCKER=\/run\/other\.sock$/m);

  // Not in place: it is running.
  await sh('cd /usr/local/bin && cp fairlead-agent older && echo >>older && mv older fairlead-agent');
  const upgraded = await sh(again.replace('--token -', '--upgrade'));
  assert.equal(upgraded.code, 0, upgraded.out);
  assert.match(upgraded.out, /installed \/usr\/local\/bin\/fairlead-agent, version/);
  assert.notDeepEqual(await sh('cat /run/fairlead-agent.pid'), restarted);
  await waitForState(server, 'bare', 'online');

  const removed = await sh(again.replace('--token -', '--uninstall'));
  assert.equal(removed.code, 0, removed.out);
  assert.deepEqual(await sh(FILES), before);
  await waitForState(server, 'bare', 'revoked');
});

test('nothing is run that the server does not vouch for, and what is lacking is said', async (t) => {
  const { sh, installLine } = await bareMachine(t, ['/usr/bin/wget:/usr/bin/wget', '/bin/dash:/usr/bin/sh']);
  const compressed = await readFile(`${made.file}.gz`);
  t.after(() => writeFile(`${made.file}.gz`, compressed));
  await writeFile(`${made.file}.gz`, gzipSync('#!/bin/sh\necho run >/run/it\n'));
  const { installCommand = '' } = await installLine();
  const before = await sh(FILES);
  const refused = await sh(installCommand);
  assert.equal(refused.code, 1);
  assert.match(refused.out, new RegExp(`sha256 [0-9a-f]{64} instead of ${made.sha256}\\): nothing of it was run`));
  assert.deepEqual(await sh(FILES), before);

  const told = async (args: string, user = 'root') => {
    const { code, out } = await sh(installCommand.replace(/\)$/, ` ${args})`), user);
    assert.notEqual(code, 0, out);
    return out;
  };
  assert.match(await told('', 'guest'), /this needs root: put sudo before sh/);
  assert.match(await told('--docker /nowhere.sock'), /Docker is not reachable: there is no socket \/nowhere\.sock/);
  assert.match(await told('--init systemd'), /systemctl is not here/);
  assert.match(await told('--tag "a;b"'), /characters that stand in no name/);
  await sh("printf '#!/bin/sh\\necho 0\\n' >/usr/bin/date; chmod 755 /usr/bin/date");
  assert.match(await told(''), /clock is wrong: it is \d+ s behind the server's/);
  await sh("rm /usr/bin/date; printf '#!/bin/sh\\necho - - - 2048 -\\n' >/usr/bin/df; chmod 755 /usr/bin/df");
  assert.match(await told(''), /too little space in \/usr\/local\/bin: 2 MiB are free/);
  await sh('rm /usr/bin/df');
  const dry = await sh(installCommand.replace(/\)$/, ' --dry-run)'));
  assert.equal(dry.code, 0, dry.out);
  assert.match(
    dry.out,
    /would install the agent for linux\/x64[\s\S]*would enroll this host[\s\S]*would start the agent by none/,
  );
  assert.deepEqual(await sh(FILES), before);
});
