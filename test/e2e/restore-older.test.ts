/**
 * A backup that is older than much of what was revoked: restored with the journal of the server that was lost, it brings
 * nothing back, whoever was renewed since comes back once somebody says so, and the audit log tells of it and is whole.
 */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { type Launched, run } from '../support/launcher.ts';
import {
  type Enrolled,
  enroll,
  newToken,
  type Server,
  startAgent,
  startServer,
  waitForState,
} from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { PATIENT_MS, waitFor, within } from '../support/wait.ts';

/** Short, so that a host renews its certificate while the test waits. */
const LIFE = ['--agent-cert-life', '30s', '--recover-within', '1h'];
const PASSWORD = 'correct horse battery';

const shared = fileCleanup();
let server: Server;
let dir: string;
let secret: string;
let backup: string;
let renewed: Enrolled & { process: Launched };
let outcast: Enrolled;
let apiToken: string;
let enrollmentTokens: string[];
let ports: { apiPort: number; agentPort: number };

async function cli(...args: string[]): Promise<CliRun> {
  const access = ['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')];
  const done = await runCliHere([...access, ...args], { input: `${PASSWORD}\n` });
  assert.equal(done.exit?.code, 0, done.transcript());
  return done;
}

/** The status of what the operator's certificate gets. */
async function asOperator(): Promise<number> {
  const read = (name: string) => readFile(join(dir, 'operator', name));
  const [cert, key] = await Promise.all([read('cert.pem'), read('key.pem')]);
  return await new Promise((resolve, reject) => {
    const options = { cert, key, ca: server.caPem, agent: false };
    const ask = https.get(new URL('/api/v1/whoami', server.runtime.apiUrl), options, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    ask.on('error', reject);
  });
}

const logIn = async (user = 'ann') =>
  (await server.api.post('/api/v1/login', { user, password: PASSWORD }, { token: null })).status;

async function serialOf(name: string): Promise<string> {
  return (await server.api.get(`/api/v1/hosts/${name}`)).body.certificate.serial;
}

/** Revokes one of each sort, and lets a host renew its certificate. */
async function goOn(t: Cleanup, made: { apiToken: { id: string }; spent: string; revoked: { id: string } }) {
  const { items } = (await server.api.get('/api/v1/certificates?limit=100')).body;
  const known = items.map(({ serial }: { serial: string }) => serial);
  const isNew = async () => !known.includes(await serialOf('renewed'));
  await waitFor('another certificate', isNew, { context: () => renewed.process.transcript() });
  await renewed.process.stop();
  assert.equal((await server.api.post('/api/v1/hosts/outcast/revoke', { reason: 'sold' })).status, 200);
  assert.equal((await server.api.delete(`/api/v1/api-tokens/${made.apiToken.id}`)).status, 204);
  assert.equal((await server.api.delete(`/api/v1/enrollment-tokens/${made.revoked.id}`)).status, 204);
  const [operator] = (await server.api.get('/api/v1/operator-certificates')).body.items;
  await cli('operator', 'rm', operator.serial);
  await cli('user', 'rm', 'ann');
  const args = ['enroll', '--server', server.runtime.apiUrl, '--token', made.spent, '--name', 'spender'];
  const spender = await run(t, 'agent', [...args, '--state-dir', join(dir, 'spender')]);
  assert.equal(spender.exit.code, 0, spender.transcript());
}

before(async () => {
  dir = await tempDir(shared, 'older');
  server = await startServer(shared, { args: LIFE });
  outcast = await enroll(shared, server, 'outcast');
  const host = await enroll(shared, server, 'renewed');
  renewed = { ...host, process: startAgent(shared, host) };
  await waitForState(server, 'renewed', 'online');
  const made = (await server.api.post('/api/v1/api-tokens', { name: 'ci', role: 'viewer' })).body;
  apiToken = made.token;
  const [spent, revoked] = [await newToken(server), await newToken(server)];
  enrollmentTokens = [spent.token, revoked.token];
  await cli('operator', 'create', 'oli', '--role', 'admin', '--out', join(dir, 'operator'));
  for (const name of ['ann', 'bea']) await cli('user', 'create', name, '--role', 'admin');
  assert.deepEqual([await asOperator(), await logIn()], [200, 200]);

  [secret, backup] = [join(dir, 'passphrase'), join(dir, 'backup')];
  await writeFile(secret, 'only on paper\n', { mode: 0o600 });
  await cli('backup', '--out', backup, '--passphrase-file', secret);
  await goOn(shared, { apiToken: made, spent: spent.token, revoked });
  assert.deepEqual([await asOperator(), await logIn()], [401, 401]);
  const portOf = (url: string) => Number(new URL(url).port);
  ports = { apiPort: portOf(server.runtime.apiUrl), agentPort: portOf(server.runtime.agentUrl) };
  await server.process.stop();
});

async function restore(dataDir: string, ...args: string[]): Promise<string> {
  const given = ['restore', backup, '--data-dir', dataDir, '--passphrase-file', secret, ...args];
  const done = await runCliHere(given);
  assert.equal(done.exit?.code, 0, done.transcript());
  await writeFile(join(dataDir, 'admin-token'), server.adminToken, { mode: 0o600 });
  return done.stdout;
}

async function nothingComesBack(t: Cleanup): Promise<void> {
  assert.equal((await server.api.get('/api/v1/hosts/outcast')).body.state, 'revoked');
  const agent = startAgent(t, outcast);
  assert.equal((await within(PATIENT_MS, 'its end', agent.exited, () => agent.transcript())).code, 3);
  assert.match(agent.stderr, /certificate was revoked: sold/);
  assert.equal((await server.api.get('/api/v1/hosts', { token: apiToken })).status, 401);
  assert.equal(await asOperator(), 401);
  assert.deepEqual([await logIn(), await logIn('bea')], [401, 200]);
  for (const token of enrollmentTokens) {
    const where = ['--state-dir', join(await tempDir(t), 'state')];
    const tried = await run(t, 'agent', ['enroll', '--server', server.runtime.apiUrl, '--token', token, ...where]);
    assert.notEqual(tried.exit.code, 0, tried.transcript());
  }
}

/** The certificate of the host is unknown to the store, and the one before it superseded. */
async function renewedComesBack(t: Cleanup): Promise<void> {
  const agent = startAgent(t, renewed);
  const find = async () =>
    (await server.api.get('/api/v1/recoveries')).body.items.find((row: { state: string }) => row.state === 'pending');
  const asked = await waitFor('its request', find, { context: () => agent.transcript() });
  assert.match(asked.why, /does not know the certificate/);
  await cli('host', 'approve', 'renewed');
  const host = await waitForState(server, 'renewed', 'online');
  assert.equal(host['id'], renewed.hostId);
  assert.equal(agent.exit, undefined, agent.transcript());
  await agent.stop();
}

async function rowsOf(action: string): Promise<{ target: string; detail: Record<string, unknown> }[]> {
  return (await server.api.get(`/api/v1/audit?limit=100&action=${action}`)).body.items;
}

const KINDS = ['api-token', 'certificate', 'enrollment-token', 'enrollment-token-used', 'host'];

/** What was said, once, and that the log is whole: now and after the next start. */
async function logIsWhole(): Promise<void> {
  const replayed = await rowsOf('revocation.replay');
  const kinds = new Set(replayed.map(({ detail }) => detail['kind']));
  assert.deepEqual([...kinds].sort(), [...KINDS, 'operator-certificate', 'superseded', 'user']);
  for (const when of ['after the restore', 'after the next start']) {
    assert.equal((await cli('audit', '--verify')).exit?.code, 0);
    assert.match((await server.api.get('/metrics')).text, /^fairlead_audit_intact 1$/m, when);
    assert.deepEqual(await rowsOf('audit.broken'), [], when);
    const [told, ...more] = await rowsOf('backup.restore');
    assert.ok(Number(told?.detail['journaledRevocations']) >= replayed.length, when);
    assert.deepEqual(more, []);
    assert.deepEqual(await rowsOf('revocation.replay'), replayed, when);
    const { dataDir } = server;
    if (when === 'after the next start') return;
    await server.process.stop();
    server = await startServer(shared, { dataDir, ...ports });
  }
}

test('restored in its place, the journal that is there counts', { timeout: 300_000 }, async (t) => {
  const { dataDir, adminToken } = server;
  assert.match(await restore(dataDir, '--force'), /^Restored installation /);
  server = await startServer(shared, { dataDir, ...ports });
  assert.equal(server.adminToken, adminToken);
  assert.equal((await server.api.get('/api/v1/whoami')).body.role, 'admin');
  await nothingComesBack(t);
  await renewedComesBack(t);
  await logIsWhole();
  await server.process.stop();
});

test('restored elsewhere, with the journal of the lost server', { timeout: 300_000 }, async (t) => {
  const [aside = ''] = (await readdir(server.dataDir)).filter((name) => name.startsWith('before-restore-'));
  const lost = join(server.dataDir, aside, 'revoked.ndjson');
  const dataDir = join(dir, 'elsewhere');
  await restore(dataDir, '--revocations', lost);
  server = await startServer(shared, { dataDir, ...ports });
  await nothingComesBack(t);
  await renewedComesBack(t);
  await logIsWhole();
  await server.process.stop();
});
