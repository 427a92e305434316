/** `fairlead-agent doctor`: a host that is well, and what can be wrong with one. */
import assert from 'node:assert/strict';
import { chmod, cp, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { markOf } from '../../agent/identity/state-lock.ts';
import type { Check } from '../../shared/doctor/check.ts';
import { VERSION } from '../../shared/version.ts';
import { type LaunchOptions, run } from '../support/launcher.ts';
import { addHost, type Enrolled, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';

const shared = fileCleanup();
let server: Server;
let agent: Enrolled;

before(async () => {
  server = await startServer(shared);
  agent = await addHost(shared, server, 'shed');
});

interface Found {
  readonly code: number | null;
  readonly checks: ReadonlyMap<string, Check>;
  readonly said: string;
}

async function doctor(stateDir: string, args: readonly string[] = [], options: LaunchOptions = {}): Promise<Found> {
  const { exit, stdout, transcript } = await run(
    shared,
    'agent',
    ['doctor', '--json', '--state-dir', stateDir, ...args],
    options,
  ).then((done) => ({ exit: done.exit, stdout: done.stdout, transcript: done.transcript() }));
  const { checks } = JSON.parse(stdout) as { checks: Check[] };
  return { code: exit.code, checks: new Map(checks.map((check) => [check.id, check])), said: transcript };
}

const failed = ({ checks }: Found) => [...checks.values()].filter(({ level }) => level === 'fail').map(({ id }) => id);

/** The host's identity in another directory, in which no agent runs. */
async function twin(cleanup: Cleanup, change: Record<string, string> = {}): Promise<string> {
  const dir = join(await tempDir(cleanup, 'twin'), 'state');
  await cp(agent.stateDir, dir, { recursive: true, filter: (path) => !path.endsWith('run.json') });
  const file = join(dir, 'agent.json');
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), ...change }));
  return dir;
}

async function closedPort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as { port: number };
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

test('a host that is well', async () => {
  const found = await doctor(agent.stateDir);
  assert.deepEqual([found.code, failed(found)], [0, []], found.said);
  for (const id of [
    'enrolled',
    'modes',
    'certificate',
    'ca',
    'run',
    'clock',
    'versions',
    'disk.state',
    'docker.socket',
  ]) {
    assert.equal(found.checks.get(id)?.level, 'ok', `${id}: ${found.said}`);
  }
  assert.match(found.checks.get('upgrades')?.summary ?? '', /cannot be upgraded .* one executable/);
  assert.match(found.checks.get('run')?.summary ?? '', /is online since/);
  assert.match(found.checks.get('api.answer')?.summary ?? '', new RegExp(`fairlead-server ${VERSION}`));
  assert.match(found.checks.get('agents.answer')?.summary ?? '', /takes this host's certificate/);
  assert.match(found.checks.get('docker.answer')?.summary ?? '', /Docker \d+\.\d+/);
  const people = await run(shared, 'agent', ['doctor', '--state-dir', agent.stateDir]);
  assert.match(people.stdout, /^ok {4}enrolled +this host is shed /m);
});

test('status tells of Docker, of the next renewal and of the version that runs', async () => {
  const { stdout } = await run(shared, 'agent', ['status', '--state-dir', agent.stateDir]);
  assert.match(stdout, /^renews +on \d{4}-\d\d-\d\dT/m);
  assert.match(stdout, /^releases +no key is known, sequence above 0; not taken: it does not run as one executable$/m);
  assert.match(stdout, /^Docker +\d+\.\d+/m);
  assert.match(stdout, new RegExp(`^session +online since \\S+ \\(pid \\d+, version ${VERSION}\\)`, 'm'));
});

test('a directory without an identity, and without Docker', async (t) => {
  const found = await doctor(await tempDir(t), ['--docker', '/nowhere/docker.sock']);
  assert.deepEqual([found.code, failed(found)], [1, ['enrolled', 'docker.socket']], found.said);
  assert.match(found.checks.get('enrolled')?.advice ?? '', /token create/);
  assert.equal(found.checks.get('run')?.level, 'warn');
});

test('where the way to the server stops is told apart, and the API is not needed for a session', async (t) => {
  const port = await closedPort();
  const { agentUrl, apiUrl } = server.runtime;
  const other = await startServer(t);
  const cases: [string, Record<string, string>, LaunchOptions, string[]][] = [
    ['no listener for agents', { agentUrl: `wss://127.0.0.1:${port}/agent` }, {}, ['agents.tcp']],
    ['a name that is none', { agentUrl: 'wss://no-such-host.invalid:1/agent' }, {}, ['agents.name']],
    ["another server's", { agentUrl: other.runtime.agentUrl }, {}, ['agents.tls']],
    ['the API for the agents', { agentUrl: `${apiUrl.replace('https', 'wss')}/agent` }, {}, ['agents.answer']],
    ['no API', { server: `https://127.0.0.1:${port}`, agentUrl }, {}, []],
    ['a proxy that is away', {}, { env: { HTTPS_PROXY: `http://127.0.0.1:${port}` } }, ['agents.answer']],
  ];
  for (const [what, change, options, ids] of cases) {
    const found = await doctor(await twin(t, change), [], options);
    assert.deepEqual(failed(found), ids, `${what}: ${found.said}`);
    for (const id of ids) assert.ok((found.checks.get(id)?.advice ?? '').length > 10, what);
  }
  const found = await doctor(await twin(t, { server: `https://127.0.0.1:${port}` }));
  assert.deepEqual([found.code, found.checks.get('api.tcp')?.level], [0, 'warn'], found.said);
});

test('Docker and the proxy are those of the agent that runs, unless others are given', async (t) => {
  const dir = await twin(t);
  const proxy = { url: `http://127.0.0.1:${await closedPort()}` };
  const run = { ...markOf(process.pid), state: 'online', since: new Date().toISOString() };
  await writeFile(join(dir, 'run.json'), JSON.stringify({ ...run, dockerAddress: '/nowhere/docker.sock', proxy }));
  const found = await doctor(dir);
  assert.deepEqual(failed(found), ['agents.answer', 'docker.socket'], found.said);
  assert.match(found.checks.get('docker.socket')?.summary ?? '', /\/nowhere\/docker\.sock/);
  assert.equal(found.checks.has('upgrades'), false);
  const releases = { keys: ['0123456789abcdef'] };
  await writeFile(join(dir, 'run.json'), JSON.stringify({ ...run, releases, dockerAddress: '/nowhere', proxy }));
  const given = await doctor(dir, ['--docker', '/var/run/docker.sock']);
  assert.deepEqual(failed(given), ['agents.answer'], given.said);
  assert.match(given.checks.get('upgrades')?.summary ?? '', /signed by 0123456789abcdef/);
});

test('a key that others can read, a certificate without its key, and a wrong flag', async (t) => {
  const open = await twin(t);
  await chmod(join(open, 'key.pem'), 0o644);
  assert.match((await doctor(open)).checks.get('modes')?.summary ?? '', /others can read .*key\.pem/);
  const torn = await twin(t);
  await writeFile(join(torn, 'key.pem'), 'nothing');
  const found = await doctor(torn);
  assert.deepEqual(failed(found), ['enrolled'], found.said);
  assert.match(found.checks.get('enrolled')?.summary ?? '', /damaged/);
  // The agent's user may have changed its executable.
  assert.match(found.checks.get('enrolled')?.advice ?? '', /as the user of the agent and not as root: su /);
  const usage = await run(shared, 'agent', ['doctor', '--docker', 'nonsense']);
  assert.equal(usage.exit.code, 2);
});
