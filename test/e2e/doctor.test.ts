/** `fairlead doctor`: all well, what is wrong, where the way to a server stops, and servers that do not start. */
import assert from 'node:assert/strict';
import { chmod, cp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, test } from 'node:test';
import Database from 'better-sqlite3';
import type { Check } from '../../shared/doctor/check.ts';
import { VERSION } from '../../shared/version.ts';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;
let other: Server;

before(async () => {
  server = await startServer(shared, { args: ['--log-level', 'error'] });
  other = await startServer(shared);
});

const tokenFile = (of: Server) => join(of.dataDir, 'admin-token');
const at = (url: string, token = tokenFile(server)) => ['--server', url, '--api-token-file', token];

function checksOf({ stdout }: CliRun): Map<string, Check> {
  const { checks, server: said } = JSON.parse(stdout) as { checks: Check[]; server: { checks: Check[] } | null };
  return new Map([...checks, ...(said?.checks ?? [])].map((check) => [check.id, check]));
}

/** A port at which something listens that never says a word. */
async function silentPort(cleanup: Cleanup): Promise<number> {
  const listener = createServer((socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  defer(cleanup, () => listener.close());
  return (listener.address() as { port: number }).port;
}

/** One at which nothing does. */
async function closedPort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as { port: number };
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

test('of a server that works it looks at the way, the server and its hosts', async () => {
  const agent = await addHost(shared, server, 'shed', ['--docker', '/nowhere/docker.sock']);
  await waitFor('a heartbeat', async () => {
    const { body } = await server.api.get('/api/v1/diagnostics');
    return body.checks.some(({ id, level }: Check) => id === 'hosts.docker' && level === 'warn');
  });
  const run = await runCliHere(['--json', ...at(server.runtime.apiUrl), 'doctor']);
  assert.equal(run.exit.code, 0, run.transcript());
  const checks = checksOf(run);
  for (const id of ['api.tcp', 'api.tls', 'api.answer', 'api.ready', 'token', 'clock', 'agents.tls', 'agents.answer']) {
    assert.equal(checks.get(id)?.level, 'ok', `${id}: ${JSON.stringify(checks.get(id))}`);
  }
  for (const id of [
    'server',
    'ca',
    'tls.server',
    'store',
    'disk',
    'audit',
    'releases',
    'rollouts',
    'hosts.presence',
    'hosts.clocks',
    'hosts.versions',
  ]) {
    assert.equal(checks.get(id)?.level, 'ok', `${id}: ${JSON.stringify(checks.get(id))}`);
  }
  assert.match(checks.get('hosts.docker')?.summary ?? '', /shed \(.*nowhere/);
  // It was started for this machine alone, and nobody has made a backup.
  for (const id of ['names', 'backup', 'hosts.docker']) {
    assert.equal(checks.get(id)?.level, 'warn', id);
    assert.ok((checks.get(id)?.advice ?? '').length > 20, id);
  }
  await agent.process.stop();
});

test('people get a line for each check, the advice below it, and a sum', async () => {
  const { stdout, exit } = await runCliHere([...at(server.runtime.apiUrl), 'doctor']);
  assert.equal(exit.code, 0);
  assert.match(stdout, /^ok {4}api\.answer +the API at \S+ answers after \d+ ms: fairlead-server /m);
  assert.match(stdout, /^warn {2}names .*\n +-> start the server with --public-host NAME/m);
  assert.match(stdout, /\d+ checks: 0 failed, \d+ warnings\n$/);
});

test('where the way stops is said, with advice, and fails', async (t) => {
  const closed = await closedPort();
  const cases: [where: string, args: string[], id: string, what: RegExp][] = [
    ['a name that is none', at('https://no-such-host.invalid:8440'), 'api.name', /cannot be resolved/],
    ['a port without a server', at(`https://127.0.0.1:${closed}`), 'api.tcp', /refused/],
    ['another CA', at(other.runtime.apiUrl), 'api.tls', /another CA/],
    ['no TLS', at(`https://127.0.0.1:${new URL(other.runtime.agentUrl).port}`), 'api.tls', /TLS/],
    ['a wrong token', at(server.runtime.apiUrl, await wrongToken(t)), 'token', /UNAUTHORIZED/],
  ];
  for (const [where, args, id, what] of cases) {
    const run = await runCliHere(['--json', ...args, 'doctor']);
    assert.equal(run.exit.code, 1, `${where}: ${run.transcript()}`);
    const failed = [...checksOf(run).values()].filter(({ level }) => level === 'fail');
    assert.deepEqual(
      failed.map((check) => check.id),
      [id],
      `${where}: ${run.stdout}`,
    );
    assert.match(failed[0]?.summary ?? '', what, where);
    assert.ok((failed[0]?.advice ?? '').length > 10, where);
  }
});

/** One of this installation that nobody has made. */
async function wrongToken(cleanup: Cleanup): Promise<string> {
  const { body } = await server.api.post('/api/v1/api-tokens', { name: 'gone', role: 'admin' });
  await server.api.delete(`/api/v1/api-tokens/${body.id}`);
  const file = join(await tempDir(cleanup), 'token');
  await writeFile(file, body.token, { mode: 0o600 });
  return file;
}

test('whoever is no administrator is told of the way, and what else it takes', async (t) => {
  const { body } = await server.api.post('/api/v1/api-tokens', { name: 'viewer', role: 'viewer' });
  const file = join(await tempDir(t), 'token');
  await writeFile(file, body.token, { mode: 0o600 });
  const run = await runCliHere(['--json', ...at(server.runtime.apiUrl, file), 'doctor']);
  assert.equal(run.exit.code, 0, run.transcript());
  assert.equal(checksOf(run).get('token')?.level, 'warn');
  assert.equal(JSON.parse(run.stdout).server, null);
});

/** A data directory as a server left it. */
async function leftBehind(cleanup: Cleanup): Promise<string> {
  const dir = join(await tempDir(cleanup, 'data'), 'data');
  await cp(other.dataDir, dir, { recursive: true });
  return dir;
}

async function ofDirectory(dir: string, ...args: string[]): Promise<{ run: CliRun; checks: Map<string, Check> }> {
  const ports = ['--api-listen', '127.0.0.1:0', '--agent-listen', '127.0.0.1:0'];
  const run = await runCliHere(['--json', 'doctor', '--data-dir', dir, ...ports, ...args]);
  return { run, checks: checksOf(run) };
}

test('a data directory is looked at while a server holds it, and after', async (t) => {
  const held = await ofDirectory(other.dataDir);
  assert.equal(held.run.exit.code, 0, held.run.transcript());
  assert.match(
    held.checks.get('lock')?.summary ?? '',
    new RegExp(`fairlead-server ${VERSION} \\(pid ${other.process.pid}`),
  );
  await other.process.stop();
  const dir = await leftBehind(t);
  const before = await readFile(join(dir, 'fairlead.db'));
  const { run, checks } = await ofDirectory(dir);
  assert.equal(run.exit.code, 0, run.transcript());
  for (const id of ['data-dir', 'modes', 'disk', 'lock', 'store', 'ca', 'journal', 'port.api-listen']) {
    assert.equal(checks.get(id)?.level, 'ok', `${id}: ${JSON.stringify(checks.get(id))}`);
  }
  assert.ok(before.equals(await readFile(join(dir, 'fairlead.db'))));
});

test('what keeps a server from starting is found in its data directory', async (t) => {
  const port = await silentPort(t);
  const newer = (dir: string) => {
    const database = new Database(join(dir, 'fairlead.db'));
    database.prepare('insert into schema_version (version) values (999)').run();
    database.prepare("update settings set value = ? where key = 'store.writer'").run(Buffer.from('8.0.0'));
    database.close();
  };
  const passphrase = join(await tempDir(t), 'passphrase');
  await writeFile(passphrase, 'a passphrase of nothing');
  const cases: [string, (dir: string) => unknown, string[], string, RegExp][] = [
    ['a newer store', newer, [], 'store', /newer fairlead-server 8\.0\.0/],
    ['a damaged one', (dir) => writeFile(join(dir, 'fairlead.db'), 'x'.repeat(4096)), [], 'store', /damaged/],
    ['no master key', (dir) => rm(join(dir, 'master.key')), [], 'ca', /master\.key/],
    ['a passphrase for none', () => undefined, ['--ca-passphrase-file', passphrase], 'ca', /not under a passphrase/],
    ['a port in use', () => undefined, ['--api-listen', `127.0.0.1:${port}`], 'port.api-listen', /in use/],
  ];
  for (const [what, harm, args, id, says] of cases) {
    const dir = await leftBehind(t);
    await harm(dir);
    const { run, checks } = await ofDirectory(dir, ...args);
    assert.equal(run.exit.code, 1, `${what}: ${run.transcript()}`);
    assert.equal(checks.get(id)?.level, 'fail', `${what}: ${run.stdout}`);
    assert.match(checks.get(id)?.summary ?? '', says, what);
    // Nobody is to think that the keys are gone, or come anew.
    if (id === 'store') assert.match(checks.get('ca')?.summary ?? '', /were not looked at/, what);
  }
  const open = await leftBehind(t);
  await chmod(join(open, 'admin-token'), 0o644);
  assert.match((await ofDirectory(open)).checks.get('modes')?.summary ?? '', /others can read admin-token/);
  const { run, checks } = await ofDirectory(join(open, 'nowhere'));
  assert.deepEqual([run.exit.code, checks.get('data-dir')?.level], [1, 'fail']);
});
