/** The CLI against a real mesh, with a real terminal where it needs one. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { dockerApi, testContainer } from '../support/docker.ts';
import { type Launched, launch, launchCommand, ROOT, run } from '../support/launcher.ts';
import { addHost, modeOf, newToken, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let env: Record<string, string>;

before(async () => {
  server = await startServer(shared);
  await addHost(shared, server, 'shed');
  // Each test has the login of this file, not that of whoever runs it.
  env = { XDG_CONFIG_HOME: await tempDir(shared, 'config') };
  const login = await run(
    shared,
    'cli',
    ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token'), 'login'],
    { env },
  );
  assert.equal(login.exit.code, 0, login.transcript());
});

async function cli(t: Cleanup, ...args: string[]): Promise<Launched> {
  return await run(t, 'cli', args, { env });
}

async function ok(t: Cleanup, ...args: string[]): Promise<string> {
  const done = await cli(t, ...args);
  assert.equal(done.exit?.code, 0, done.transcript());
  return done.stdout;
}

/** The CLI in a pseudo-terminal, so that stdin and stdout are one. */
function inTerminal(t: Cleanup, args: string[]): Launched {
  const command = [process.execPath, `${ROOT}server/cli/main.ts`, ...args].map((arg) => `'${arg}'`).join(' ');
  const size = 'stty rows 31 cols 97';
  const options = { env: { ...env, SHELL: '/bin/sh', TERM: 'xterm' } };
  return launchCommand(
    t,
    'script',
    ['--quiet', '--return', '--command', `${size}; exec ${command}`, '/dev/null'],
    options,
  );
}

test('login stores a context that only its owner can read', async () => {
  const path = join(env['XDG_CONFIG_HOME'] ?? '', 'fairlead/context.json');
  assert.equal(await modeOf(path), 0o600);
  assert.ok((await readFile(path, 'utf8')).includes(server.runtime.apiUrl));
});

test('hosts are listed, shown, renamed and tagged, as tables and as JSON', async (t) => {
  const { token } = await newToken(server);
  const stateDir = join(await tempDir(t), 'state');
  const args = [
    'enroll',
    '--server',
    server.runtime.apiUrl,
    '--token',
    token,
    '--name',
    'old',
    '--state-dir',
    stateDir,
  ];
  assert.equal((await run(t, 'agent', args)).exit.code, 0);
  assert.match(await ok(t, 'host', 'ls'), /^NAME.*\n(.*\n)*shed +online/);
  await ok(t, 'host', 'rename', 'old', 'new');
  await ok(t, 'host', 'tag', 'new', '--add', 'cellar', '--add', 'spare');
  await ok(t, 'host', 'tag', 'new', '--remove', 'spare');
  const shown = JSON.parse(await ok(t, 'host', 'show', 'new', '--json'));
  assert.deepEqual([shown.name, shown.tags, shown.state], ['new', ['cellar'], 'pending']);
  assert.match(await ok(t, 'host', 'show', 'new'), /cellar/);
  await ok(t, 'host', 'revoke', 'new', '--reason', 'test');
  assert.equal(JSON.parse(await ok(t, 'host', 'show', 'new', '--json')).state, 'revoked');
  await ok(t, 'host', 'rm', 'new');
  const gone = await cli(t, 'host', 'show', 'new');
  assert.equal(gone.exit?.code, 1);
  assert.match(gone.stderr, /^fairlead: .*new/);
});

test('a token made by the CLI enrolls by the very command that it prints', async (t) => {
  const printed = await ok(t, 'token', 'create', '--host-name', 'printed');
  const [, token, command = ''] = /^.*echo (\S+) \| fairlead-agent (enroll .*)$/m.exec(printed) ?? [];
  assert.ok(token !== undefined, printed);
  assert.ok(!command.includes(token), printed);
  const stateDir = join(await tempDir(t), 'state');
  const args = [...command.split(' '), '--state-dir', stateDir];
  const enrolled = await run(t, 'agent', args, { input: `${token}\n` });
  assert.equal(enrolled.exit.code, 0, enrolled.transcript());
  assert.ok(existsSync(join(stateDir, 'agent.json')));
  const tokens = JSON.parse(await ok(t, 'token', 'ls', '--json'));
  assert.ok((tokens.items ?? tokens).some((one: { state: string }) => one.state === 'used'));
});

test('ps lists the containers of one host and of all', async (t) => {
  const { id, name } = await testContainer(t);
  assert.ok((await ok(t, 'ps', 'shed')).includes(name));
  assert.ok((await ok(t, 'ps')).includes('shed'));
  const rows = JSON.parse(await ok(t, 'ps', 'shed', '--json'));
  assert.ok((rows.items ?? rows).some((one: { Id: string }) => one.Id === id));
});

test('logs prints the container’s own bytes, and follows', async (t) => {
  const { name } = await testContainer(t, { cmd: ['sh', '-c', 'echo one; echo two; exec sleep 100000'] });
  await waitFor('the log', async () => (await ok(t, 'logs', 'shed', name)) === 'one\ntwo\n');
  assert.equal(await ok(t, 'logs', 'shed', name, '--tail', '1'), 'two\n');
  const following = launch(t, 'cli', ['logs', 'shed', name, '-f'], { env });
  await following.waitForOutput(/one\ntwo\n/);
  following.signal('SIGINT');
  await within(3_000, 'the end of logs -f', following.exited);
});

test('exec passes stdin, both outputs and the exit code', async (t) => {
  const { name } = await testContainer(t);
  const script = 'cat; echo oops >&2; exit 5';
  const done = await run(t, 'cli', ['exec', '-i', 'shed', name, '--', 'sh', '-c', script], { env, input: 'hello\n' });
  assert.deepEqual([done.exit.code, done.stdout, done.stderr], [5, 'hello\n', 'oops\n'], done.transcript());
});

test('exec -it is a real terminal: size, echo, Ctrl-C to the process, exit code', async (t) => {
  const { id, name } = await testContainer(t);
  const terminal = inTerminal(t, ['exec', '-it', 'shed', name, '--', 'sh']);
  terminal.stdin.write('stty size\n');
  await terminal.waitForOutput(/31 97/);
  terminal.stdin.write('sleep 61616; echo status=$?\n');
  await waitFor('the sleep', async () =>
    JSON.stringify((await dockerApi('GET', `/containers/${id}/top`)).body).includes('sleep 61616'),
  );
  terminal.stdin.write('\x03');
  terminal.stdin.write('echo still-$((40+2))\n');
  await terminal.waitForOutput(/still-42/);
  terminal.stdin.write('exit 6\n');
  const end = await within(5_000, 'the end of exec -it', terminal.exited, () => terminal.transcript());
  assert.equal(end.code, 6, terminal.transcript());
});

test('a server that is not there, a host that is not there and a token that is none are told apart', async (t) => {
  const away = await run(t, 'cli', ['--server', 'https://127.0.0.1:1', 'host', 'ls'], {
    env: { ...env, FAIRLEAD_API_TOKEN: server.adminToken },
  });
  assert.equal(away.exit.code, 1);
  assert.match(away.stderr, /127\.0\.0\.1:1/);
  const nowhere = await cli(t, 'ps', 'nowhere');
  assert.equal(nowhere.exit?.code, 1);
  assert.match(nowhere.stderr, /nowhere/);
  const bad = await run(t, 'cli', ['host', 'ls'], { env: { ...env, FAIRLEAD_API_TOKEN: 'fla1.nonsense' } });
  assert.notEqual(bad.exit.code, 0);
  assert.match(bad.stderr, /token/i);
  for (const failed of [away, nowhere, bad]) assert.doesNotMatch(failed.stderr, /\n\s+at /);
});

test('an API token that was removed is refused', async (t) => {
  const made = JSON.parse(await ok(t, 'apitoken', 'create', '--name', 'brief', '--role', 'viewer', '--json'));
  const as = { env: { ...env, FAIRLEAD_API_TOKEN: made.token } };
  assert.equal((await run(t, 'cli', ['host', 'ls'], as)).exit.code, 0);
  await ok(t, 'apitoken', 'rm', made.id);
  assert.equal((await run(t, 'cli', ['host', 'ls'], as)).exit.code, 1);
});
