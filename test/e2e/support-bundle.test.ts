/** Support bundles of a server and of an agent: what is in them, and what is not. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type TestContainer, testContainer } from '../support/docker.ts';
import { run } from '../support/launcher.ts';
import { addHost, type Enrolled, type Server, startServer } from '../support/mesh.ts';
import { type Evidence, filesOf, Secrets } from '../support/secrets.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';

const shared = fileCleanup();
const secrets = new Secrets();
let server: Server;
let agent: Enrolled;
let container: TestContainer;

/** A value that stands wherever people put what nobody is to see. */
function planted(where: string): string {
  const value = `planted-${where}-${Math.random().toString(36).slice(2, 12)}`;
  secrets.add(where, value);
  return value;
}

before(async () => {
  const dir = await tempDir(shared);
  const secretFile = join(dir, 'webhook-secret');
  await writeFile(secretFile, planted('audit-webhook-secret'));
  const url = `http://${planted('url-user')}:${planted('url-password')}@127.0.0.1:9/${planted('url-path')}`;
  const webhook = ['--audit-webhook', url.replace(/\/\/.*@/, '//'), '--audit-webhook-secret-file', secretFile];
  server = await startServer(shared, { args: webhook });
  secrets.add('the admin token', server.adminToken);
  agent = await addHost(shared, server, 'shed');
  secrets.addKey("the agent's key", await readFile(join(agent.stateDir, 'key.pem'), 'utf8'));
  container = await testContainer(shared, {
    env: [`DB_PASSWORD=${planted('environment')}`],
    labels: { 'com.example.token': planted('label') },
    cmd: ['sh', '-c', `: ${planted('command')}; echo ${planted('log')}; sleep 1000`],
  });
  const path = `/api/v1/hosts/shed/containers/${container.id}/exec`;
  const ran = await server.api.post(path, {
    cmd: ['sh', '-c', `: --password=${planted('argument')}`],
    env: [`X=${planted('exec-environment')}`],
    stdin: planted('exec-input'),
  });
  assert.equal(ran.status, 200, ran.text);
  const hook = await server.api.post('/api/v1/webhooks', { url: `https://hook.invalid/${planted('webhook-path')}` });
  assert.equal(hook.status, 201, hook.text);
  secrets.add("a webhook's secret", hook.body.secret);
  const token = await server.api.post('/api/v1/enrollment-tokens', {});
  secrets.add('an enrollment token', token.body.token);
  const refused = await server.api.get(`/api/v1/hosts?secret=${planted('query')}`);
  assert.equal(refused.status, 400);
  await server.api.get('/api/v1/hosts', { token: planted('wrong-token') });
});

/** Unpacks a bundle. @returns its files by name */
async function unpacked(cleanup: Cleanup, file: string): Promise<Map<string, string>> {
  const dir = await tempDir(cleanup, 'unpacked');
  execFileSync('tar', ['-xzf', file, '-C', dir]);
  const files = await filesOf(dir);
  return new Map(files.map(({ place, content }) => [place.split('/').at(-1) ?? '', content.toString('utf8')]));
}

function noSecretIn(files: ReadonlyMap<string, string>): void {
  const evidence: Evidence[] = [...files].map(([place, text]) => ({ place, content: Buffer.from(text) }));
  assert.deepEqual(
    secrets.find(evidence).map(({ secret, form, place }) => `${secret} (${form}) in ${place}`),
    [],
  );
}

const args = (...rest: string[]) => [
  ...['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')],
  ...['support-bundle', ...rest],
];

test("a server's says how it and its hosts are, and no secret", async (t) => {
  const out = join(await tempDir(t), 'support.tar.gz');
  const made = await run(t, 'cli', args('--out', out));
  assert.equal(made.exit.code, 0, made.transcript());
  assert.equal((await stat(out)).mode & 0o777, 0o600);
  const files = await unpacked(t, out);
  const names = ['doctor.txt', 'doctor.json', 'cli.json', 'ready.json', 'hosts.json', 'events.ndjson', 'audit.ndjson'];
  for (const name of [...names, 'ca.json', 'metrics.txt', 'api.json']) {
    assert.ok((files.get(name) ?? '').length > 20, `${name} in ${[...files.keys()]}`);
    assert.match(files.get('README.txt') ?? '', new RegExp(`^${name} `, 'm'));
  }
  for (const name of ['releases.json', 'rollouts.json']) assert.deepEqual(JSON.parse(files.get(name) ?? ''), [], name);
  assert.equal(files.has('errors.txt'), false, files.get('errors.txt') ?? '');
  const [host] = JSON.parse(files.get('hosts.json') ?? '');
  assert.deepEqual([host.name, host.state, host.docker.reachable], ['shed', 'online', true]);
  assert.equal(JSON.parse(files.get('doctor.json') ?? '').server.configuration.auditWebhook, '127.0.0.1:9');
  assert.match(files.get('events.ndjson') ?? '', /"type":"host.online"/);
  assert.match(files.get('audit.ndjson') ?? '', /"action":"container.exec"/);
  noSecretIn(files);
  const again = await run(t, 'cli', args('--out', out));
  assert.match(again.stderr, /is there already/);
});

test("an agent's says how its host is, and no secret", async (t) => {
  const out = join(await tempDir(t), 'host.tar.gz');
  const bundle = ['support-bundle', '--state-dir', agent.stateDir, '--out', out];
  const made = await run(t, 'agent', bundle);
  assert.equal(made.exit.code, 0, made.transcript());
  assert.equal((await stat(out)).mode & 0o777, 0o600);
  const files = await unpacked(t, out);
  for (const name of [
    'README.txt',
    'doctor.txt',
    'doctor.json',
    'status.txt',
    'policy.txt',
    'versions.json',
    'docker.txt',
  ]) {
    assert.ok((files.get(name) ?? '').length > 20, `${name} in ${[...files.keys()]}`);
  }
  assert.match(files.get('status.txt') ?? '', /^host +shed /m);
  assert.match(files.get('docker.txt') ?? '', /"ServerVersion"/);
  noSecretIn(files);
  const again = await run(t, 'agent', bundle);
  assert.equal(again.exit.code, 1);
  assert.match(again.stderr, /is there already/);
});

test('of what cannot be asked, a bundle has what the doctor says', async (t) => {
  const dir = await tempDir(t);
  const out = join(dir, 'unreachable.tar.gz');
  const made = await run(t, 'cli', ['--server', 'https://127.0.0.1:1', ...args('--out', out).slice(2)]);
  assert.equal(made.exit.code, 0, made.transcript());
  const files = await unpacked(t, out);
  assert.match(files.get('doctor.txt') ?? '', /^fail {2}api\.tcp/m);
  assert.equal(files.has('hosts.json'), false);
  const empty = join(dir, 'state');
  await mkdir(empty);
  const own = join(dir, 'host.tar.gz');
  assert.equal(
    (await run(t, 'agent', ['support-bundle', '--state-dir', empty, '--docker', '/nowhere', '--out', own])).exit.code,
    0,
  );
  assert.match((await unpacked(t, own)).get('docker.txt') ?? '', /DOCKER_UNREACHABLE/);
});
