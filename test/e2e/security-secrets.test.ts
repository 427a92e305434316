/**
 * No secret of a run is anywhere but where it belongs: not in the database, logs, arguments, environments, audit rows,
 * metrics or answers, in no form. Everything logs as much as it can, and much of what is asked fails.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { createCsr } from '../../certs/csr.ts';
import { parseToken } from '../../certs/enrollment-token.ts';
import { unsealKey } from '../../certs/key-at-rest.ts';
import { decodeRecord, entriesOf } from '../../server/authority/ca-record.ts';
import { openStore } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { testContainer } from '../support/docker.ts';
import { ExecClient } from '../support/exec-client.ts';
import { type Answer, Api, type RequestOptions } from '../support/http.ts';
import { type Launched, type LaunchOptions, launch, type Program, run } from '../support/launcher.ts';
import { type Server, serverArgs, startServer, waitForState } from '../support/mesh.ts';
import { addToken, LATER_SOURCES, type Run, type Source } from '../support/secret-sources.ts';
import { type Evidence, filesOf, processOf, Secrets } from '../support/secrets.ts';
import { defer, fileCleanup, tempDir } from '../support/tmp.ts';
import { p256 } from '../unit/certs/fixtures.ts';

const MAX_WAIT_MS = 120_000;
const RECEIVED = 'what the webhook received';

/** Every sort of secret there is, in the order of their use. Whatever brings a new one is to add its source here. */
const SOURCES: Record<string, Source> = {
  'admin token': adminToken,
  'API tokens': apiTokens,
  'enrollment tokens': enrollmentTokens,
  "agent's key": agentKey,
  'passphrase of the CA': caPassphrase,
  'what is passed to an exec': execSecrets,
  ...LATER_SOURCES,
};

/** The same token with another last character but one, as a person mistypes it. */
function mistyped(token: string): string {
  return token.slice(0, -6) + (token.at(-6) === 'A' ? 'B' : 'A') + token.slice(-5);
}

async function adminToken({ secrets, server, configDir, api, run }: Run): Promise<void> {
  const file = join(server.dataDir, 'admin-token');
  const context = join(configDir, 'fairlead', 'context.json');
  // The file names another root by the end of the run; the secret in it stays.
  secrets.add('the admin token', server.adminToken, [context]);
  secrets.add('the secret in the admin token', parseToken('fla1', server.adminToken).secret, [file, context]);
  const wrong = mistyped(server.adminToken);
  secrets.add('a mistyped admin token', wrong);
  const to = ['--server', server.runtime.apiUrl];
  const env = { XDG_CONFIG_HOME: configDir };
  assert.equal((await run('cli', [...to, '--api-token-file', file, 'login'], { env })).exit?.code, 0);
  assert.equal((await run('cli', ['host', 'ls'], { env })).exit?.code, 0);
  assert.equal((await run('cli', ['host', 'show', 'nobody'], { env })).exit?.code, 1);
  assert.notEqual((await run('cli', [...to, 'host', 'ls'], { env: { FAIRLEAD_API_TOKEN: wrong } })).exit?.code, 0);
  for (const authorization of [`Bearer ${wrong}`, `Basic ${Buffer.from(`x:${wrong}`).toString('base64')}`, wrong]) {
    await api.get('/metrics', { token: null, headers: { authorization } });
  }
  await api.get(`/api/v1/hosts?token=${server.adminToken}`);
  await api.post(`/api/v1/hosts/nobody/revoke?token=${server.adminToken}`, { token: server.adminToken });
  await api.request('POST', '/api/v1/enrollment-tokens', { body: { name: 7, token: server.adminToken } });
}

async function apiTokens({ secrets, server, api }: Run): Promise<void> {
  // By the server's own client, whose answers are not kept: a token is shown when it is made.
  const make = async (name: string, role: string) => (await server.api.post('/api/v1/api-tokens', { name, role })).body;
  const viewer = await make('a viewer', 'viewer');
  const gone = await make('gone', 'operator');
  addToken(secrets, "a viewer's token", 'fla1', viewer.token);
  addToken(secrets, 'a revoked token', 'fla1', gone.token);
  assert.equal((await api.get('/api/v1/hosts', { token: viewer.token })).status, 200);
  assert.equal(
    (await api.post('/api/v1/api-tokens', { name: 'x', role: 'admin' }, { token: viewer.token })).status,
    403,
  );
  assert.equal((await api.delete(`/api/v1/api-tokens/${gone.id}`)).status, 204);
  assert.equal((await api.get('/api/v1/hosts', { token: gone.token })).status, 401);
  await api.get('/api/v1/api-tokens');
}

async function enrollmentTokens({ cleanup, secrets, server, stateDir, api, run }: Run): Promise<void> {
  const make = async (body: object = {}) => (await server.api.post('/api/v1/enrollment-tokens', body)).body;
  const [used, pending, revoked] = [await make({ name: 'used' }), await make(), await make({ hostName: 'never' })];
  for (const [name, { token }] of Object.entries({ used, pending, revoked })) {
    addToken(secrets, `the ${name} enrollment token`, 'fle1', token);
  }
  const wrong = mistyped(pending.token);
  secrets.add('a mistyped enrollment token', wrong);
  const elsewhere = join(await tempDir(cleanup), 'state');
  const args = (dir: string) => ['enroll', '--server', server.runtime.apiUrl, '--state-dir', dir, '--name', 'shed'];
  assert.equal((await run('agent', [...args(stateDir), '--token', '-'], { input: used.token })).exit?.code, 0);
  // Once more, revoked, mistyped, and in the place of an API token.
  await api.delete(`/api/v1/enrollment-tokens/${revoked.id}`);
  for (const token of [used.token, revoked.token, wrong]) {
    assert.notEqual((await run('agent', [...args(elsewhere), '--token', '-'], { input: token })).exit?.code, 0);
  }
  assert.notEqual((await run('agent', args(elsewhere), { env: { FAIRLEAD_TOKEN: revoked.token } })).exit?.code, 0);
  assert.equal((await api.get('/api/v1/hosts', { token: pending.token })).status, 401);
  const host = { hostname: 'x', os: 'linux', arch: 'x64', agentVersion: '1' };
  const ask = (token: string, csr: string) => api.post('/api/v1/enroll', { ...host, token, csr }, { token: null });
  const csr = await createCsr(p256().privateKey);
  assert.equal((await ask(pending.token, csr.replace(/[A-Z]/g, 'x'))).body.code, 'CSR_INVALID');
  assert.equal((await ask(wrong, csr)).status, 401);
  assert.equal((await ask(revoked.token, csr)).status, 401);
  assert.equal((await api.post('/api/v1/enroll', { token: pending.token, secret: pending.token })).status, 400);
  await api.get('/api/v1/enrollment-tokens');
}

async function agentKey({ secrets, stateDir, startAgent }: Run): Promise<void> {
  const file = join(stateDir, 'key.pem');
  // It is renewed in the course of the run, and gone by its end.
  secrets.addKey("the agent's first key", await readFile(file, 'utf8'));
  await startAgent();
}

async function caPassphrase({ secrets, passphraseFile, cleanup, server, run }: Run): Promise<void> {
  secrets.add("the CA's passphrase", (await readFile(passphraseFile, 'utf8')).trim(), [passphraseFile]);
  const wrong = 'a wrong passphrase, mistyped';
  secrets.add('a wrong passphrase', wrong);
  const file = join(await tempDir(cleanup), 'wrong');
  await writeFile(file, wrong, { mode: 0o600 });
  // On a copy of the files: the directory itself is held.
  const copy = join(await tempDir(cleanup), 'data');
  await mkdir(copy, { mode: 0o700 });
  for (const { place, content } of await filesOf(server.dataDir)) {
    const name = place.slice(server.dataDir.length + 1);
    if (/^fairlead\.db/.test(name)) await writeFile(join(copy, name), content, { mode: 0o600 });
  }
  const refused = await run('server', serverArgs(copy, { args: ['--ca-passphrase-file', file] }));
  assert.notEqual(refused.exit?.code, 0);
  assert.match(refused.stderr, /passphrase/);
}

async function execSecrets({ secrets, server, configDir, container, api, run }: Run): Promise<void> {
  const password = 'hunter2/hunter2+hunter2';
  const typed = 'typed into a terminal: swordfish';
  secrets.add('a variable of an exec', password);
  secrets.add('what is typed into an exec', typed);
  const env = [`PASSWORD=${password}`];
  const exec = await ExecClient.open(api, 'shed', container, {
    cmd: ['sh', '-c', 'read x; echo $x $PASSWORD'],
    env,
    tty: true,
  });
  exec.type(`${typed}\n`);
  await exec.waitForOutput(/swordfish hunter2/);
  await exec.end();
  await assert.rejects(ExecClient.open(api, 'shed', 'no-such-container', { cmd: ['true'], env }));
  await assert.rejects(ExecClient.open(server.api, 'nobody', container, { cmd: ['true'], env }));
  const args = ['exec', '-e', env[0] ?? '', 'shed', container, '--', 'no-such-program'];
  const failed = await run('cli', args, { env: { XDG_CONFIG_HOME: configDir } });
  assert.notEqual(failed.exit?.code, 0);
}

const shared = fileCleanup();
const secrets = new Secrets();
const evidence: Evidence[] = [];

/** A client whose answers are evidence. */
class Witness extends Api {
  override async request(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const answer = await super.request(method, path, options);
    const content = Buffer.from(`${JSON.stringify(answer.headers)}\n${answer.text}`);
    evidence.push({ place: `the answer to ${method} ${path.split('?')[0]}`, content });
    return answer;
  }
}

const said = (launched: Launched): Evidence => ({
  place: `the output of ${launched.name}`,
  content: Buffer.from(launched.stdout + launched.stderr),
});

async function runLoud(program: Program, args: readonly string[], options: LaunchOptions = {}): Promise<Launched> {
  const loud = program === 'cli' ? args : [...args, '--log-level', 'trace'];
  const done = await run(shared, program, loud, { ...options, timeoutMs: MAX_WAIT_MS });
  evidence.push(said(done));
  return done;
}

/** What the API shows to an admin, all of it. */
async function readEverything(api: Api): Promise<void> {
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: Answer = await api.get(`/api/v1/audit?limit=500${cursor === '' ? '' : `&cursor=${cursor}`}`);
    assert.equal(page.status, 200);
    cursor = page.body.nextCursor;
  }
  const paths = ['hosts', 'hosts/shed', 'certificates', 'revocations', 'ca', 'openapi.json', 'containers'];
  for (const path of paths) assert.equal((await api.get(`/api/v1/${path}`)).status, 200, path);
  for (const path of ['/metrics', '/healthz', '/readyz', '/ca.pem', '/api/docs']) await api.get(path);
}

/** The private keys of the CAs in a store that nobody holds. @returns how many there are */
async function addCaKeys(name: string, dataDir: string, secret: string | Buffer): Promise<number> {
  const store = await openStore({ dataDir, clock: systemClock });
  try {
    const record = decodeRecord((await store.settings.get('authority.ca')) ?? Buffer.alloc(0));
    const sealed = [...entriesOf(record), ...(record.request === undefined ? [] : [record.request])];
    for (const [index, { sealedKey }] of sealed.entries()) {
      secrets.addKey(`${name} ${index + 1}`, await unsealKey(Buffer.from(sealedKey, 'base64'), secret));
    }
    return sealed.length;
  } finally {
    await store.close();
  }
}

/** Takes the audit log, and keeps it as evidence. @returns the flags for a server */
async function receiver(dir: string): Promise<string[]> {
  const secret = 'of the webhook/shared+secret';
  const file = join(dir, 'webhook-secret');
  await writeFile(file, `${secret}\n`, { mode: 0o600 });
  secrets.add("the webhook's secret", secret, [file]);
  const listener = http.createServer(async (request, response) => {
    const content = Buffer.concat(await request.toArray());
    evidence.push({ place: RECEIVED, content: Buffer.concat([Buffer.from(JSON.stringify(request.headers)), content]) });
    response.end();
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  defer(shared, () => listener.close());
  const { port } = listener.address() as AddressInfo;
  return ['--audit-webhook', `http://127.0.0.1:${port}/in`, '--audit-webhook-secret-file', file];
}

let passphrase: string;
let server: Server;
let plain: Server;
let agent: Launched;

before(async () => {
  const dir = await tempDir(shared, 'secrets');
  passphrase = `correct horse/battery+staple ${Math.random()}`;
  const passphraseFile = join(dir, 'passphrase');
  await writeFile(passphraseFile, `${passphrase}\n`, { mode: 0o600 });
  const webhook = await receiver(dir);
  const audit = [...webhook, '--audit-file', join(dir, 'audit.ndjson')];
  const args = ['--log-level', 'trace', '--ca-passphrase-file', passphraseFile, ...audit];
  server = await startServer(shared, { args });
  // And one whose CA rests under master.key.
  plain = await startServer(shared, { args: ['--log-level', 'trace'] });
  const stateDir = join(dir, 'state');
  const configDir = join(dir, 'config');
  await mkdir(configDir);
  const api = new Witness({ url: server.runtime.apiUrl, ca: server.caPem, token: server.adminToken });
  const { id } = await testContainer(shared);
  const it: Run = {
    ...{ cleanup: shared, secrets, server, dir, passphraseFile, stateDir, configDir, container: id, api, evidence },
    run: runLoud,
    startAgent: async () => {
      agent = launch(shared, 'agent', ['run', '--state-dir', stateDir, '--log-level', 'trace']);
      await waitForState(server, 'shed', 'online', MAX_WAIT_MS);
    },
  };
  for (const use of Object.values(SOURCES)) await use(it);
  // By now an offline root has taken over.
  const ca = await readFile(join(dir, 'root', 'root.pem'), 'utf8');
  await readEverything(new Witness({ url: server.runtime.apiUrl, ca, token: server.adminToken }));
  const running: [string, Launched][] = [
    ['the server', server.process],
    ['the agent', agent],
    ['the other server', plain.process],
  ];
  for (const [name, { pid }] of running) evidence.push(...(await processOf(name, pid)));
  // While all is open, with what the database has not put in its place yet, and after everything has stopped.
  evidence.push(...(await filesOf(server.dataDir)), ...(await filesOf(plain.dataDir)));
  for (const [, launched] of running.toReversed()) {
    await launched.stop();
    evidence.push(said(launched));
  }
  evidence.push(...(await filesOf(server.dataDir)), ...(await filesOf(plain.dataDir)), ...(await filesOf(dir)));
  const adminFile = join(server.dataDir, 'admin-token');
  const renamed = (await readFile(adminFile, 'utf8')).trim();
  assert.notEqual(renamed, server.adminToken);
  secrets.add('the admin token that names the offline root', renamed, [adminFile]);
  const masterFile = join(plain.dataDir, 'master.key');
  const master = (await readFile(masterFile, 'utf8')).trim();
  secrets.add('master.key', Buffer.from(master, 'hex'), [masterFile]);
  addToken(secrets, "the other server's admin token", 'fla1', plain.adminToken, [join(plain.dataDir, 'admin-token')]);
  assert.equal(await addCaKeys("the CA's key", server.dataDir, passphrase), 2, 'the intermediate, and the root before');
  assert.equal(await addCaKeys("the other CA's key", plain.dataDir, Buffer.from(master, 'hex')), 1);
});

test('no secret is anywhere but where it belongs', (t) => {
  t.diagnostic(`${secrets.names.length} secrets in ${evidence.length} places`);
  const leaks = secrets.find(evidence).map(({ secret, form, place }) => `${secret} (${form}) in ${place}`);
  assert.deepEqual([...new Set(leaks)], []);
});

test('the search has looked where secrets are, and at what was said', () => {
  assert.deepEqual(secrets.missing(evidence), [], 'each secret is found where it belongs');
  const places = evidence.map(({ place }) => place);
  const files = ['fairlead.db', 'fairlead.db-wal', 'runtime.json', 'ca.pem', 'agent.json', 'cert.pem', 'root.key'];
  const records = ['audit-head.json', 'revoked.ndjson', 'audit.ndjson', 'audit-export.ndjson', 'fairlead.backup'];
  const bundles = ['doctor.json', 'hosts.json', 'audit.ndjson', 'metrics.txt', 'status.txt'];
  for (const name of [...files, ...records, ...bundles]) {
    assert.ok(
      evidence.some(({ place, content }) => place.endsWith(`/${name}`) && content.length > 0),
      `${name} in ${places.join(', ')}`,
    );
  }
  assert.ok(places.includes(RECEIVED));
  for (const launched of [server.process, agent]) assert.match(launched.stderr, /"level":20/, 'it logged details');
  const text = evidence.map(({ content }) => content.toString('latin1')).join('\n');
  for (const code of [
    'TOKEN_INVALID',
    'UNAUTHORIZED',
    'FORBIDDEN',
    'CSR_INVALID',
    'VALIDATION',
    'CONTAINER_NOT_FOUND',
  ]) {
    assert.ok(text.includes(code), `nothing failed with ${code}`);
  }
});
