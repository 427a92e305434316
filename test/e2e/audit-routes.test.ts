/** Every route that changes something leaves a row in the audit log: the list of routes comes from the server itself. */
import assert from 'node:assert/strict';
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  randomUUID,
  X509Certificate,
} from 'node:crypto';
import { join } from 'node:path';
import { before, test } from 'node:test';
import tls from 'node:tls';
import Database from 'better-sqlite3';
import { type Ca, createOfflineRoot, openCa } from '../../certs/authority.ts';
import { createCsr } from '../../certs/csr.ts';
import { readCaRequest } from '../../certs/intermediate.ts';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { spkiOf } from '../../certs/pin.ts';
import { proveRecovery } from '../../certs/recovery-proof.ts';
import { systemClock } from '../../shared/clock.ts';
import { SUBPROTOCOL } from '../../shared/messages/index.ts';
import { connectAgent } from '../support/hawser-agent.ts';
import { Api } from '../support/http.ts';
import { newToken, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';
import { testCa } from '../unit/certs/fixtures.ts';

const CHANGES = ['post', 'put', 'patch', 'delete'];
/** Routes that change nothing, whatever their method. */
const NO_CHANGE = new Set(['post /api/v1/hosts/{host}/ping']);
const HOST = '/api/v1/hosts/{host}';
const CONTAINER = `${HOST}/containers/{container}`;
const STACK = `${HOST}/stacks/{stack}`;

const cleanup = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(cleanup);
  for (const name of ['one', 'two', 'three', 'four']) await joined(name);
});

interface Pair {
  readonly key: string;
  readonly cert: string;
}
/** By host. */
const pairs = new Map<string, Pair>();

async function keyAndCsr(): Promise<{ key: string; csr: string }> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), csr: await createCsr(privateKey) };
}

/** Enrolls a host, as its agent does. */
async function joined(name: string): Promise<void> {
  const { key, csr } = await keyAndCsr();
  const { token } = await newToken(server);
  const facts = { hostname: name, os: 'linux', arch: 'x64', agentVersion: '1' };
  const { status, body, text } = await server.api.post('/api/v1/enroll', { token, csr, name, ...facts });
  assert.equal(status, 201, text);
  pairs.set(name, { key, cert: body.certificate });
}

function pairOf(name: string): Pair {
  const pair = pairs.get(name);
  assert.ok(pair);
  return pair;
}

/** Does what only time and accidents do otherwise. */
function inStore(statement: string, ...values: unknown[]): void {
  const database = new Database(join(server.dataDir, 'fairlead.db'), { timeout: 5000 });
  database.prepare(statement).run(...values);
  database.close();
}

/** What a host sends whose certificate has expired. */
async function recoveryOf(name: string) {
  inStore('update certificates set not_after = 1 where host_id = (select id from hosts where name = ?)', name);
  const { key, cert } = pairOf(name);
  const certificate = new X509Certificate(cert);
  const { csr } = await keyAndCsr();
  const proof = await proveRecovery(certificate, csr, createPrivateKey(key));
  return { certificate: certificate.toString(), csr, proof };
}

async function pendingRecovery(name: string): Promise<string> {
  const answer = await server.api.post('/api/v1/recover', await recoveryOf(name));
  assert.equal(answer.status, 202, answer.text);
  const { items } = (await server.api.get('/api/v1/recoveries')).body;
  return items.find((row: { hostName: string }) => row.hostName === name).id;
}

async function operatorCertificate(): Promise<Pair & { serial: string }> {
  const { key, csr } = await keyAndCsr();
  const { body } = await server.api.post('/api/v1/operator-certificates', { csr, name: 'ann', role: 'viewer' });
  return { key, cert: body.certificate, serial: body.serial };
}

const PASSWORD = 'correct horse battery';
async function user(name: string): Promise<{ user: string; password: string }> {
  await server.api.post('/api/v1/users', { name, role: 'viewer', password: PASSWORD });
  return { user: name, password: PASSWORD };
}

let offlineRoot: Ca;

interface Call {
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  /** Null: without a token. */
  readonly token?: null;
  /** Of the row; without it, any that is new. */
  readonly action: string;
}

const ofContainer = (action: string): (() => Promise<Call>) => {
  return async () => ({
    path: `/api/v1/hosts/one/containers/c1${action === 'remove' ? '' : `/${action}`}`,
    action: `container.${action}`,
  });
};
/** Routes of what a host's Docker has, by method and path behind the host: how each is called, and the row that it leaves. */
function ofObjects(
  calls: Record<string, [path: string, action: string, body?: object]>,
): Record<string, () => Promise<Call>> {
  return Object.fromEntries(
    Object.entries(calls).map(([route, [path, action, body]]) => [
      route.replace(' ', ` ${HOST}/`),
      async () => ({ path: `/api/v1/hosts/one${path}`, action, ...(body === undefined ? {} : { body }) }),
    ]),
  );
}
const ofStack = (path: string, verb: string, body?: object): (() => Promise<Call>) => {
  return async () => ({
    path: `/api/v1/hosts/one/stacks/web${path}`,
    ...(body === undefined ? {} : { body }),
    action: `stack.${verb}`,
  });
};
/** What changes something at Docker by each method, under one of the routes for it. */
function ofDocker(route: string, path: string, headers = {}): Record<string, () => Promise<Call>> {
  const calls = [
    ['post', '/containers/c1/rename?name=c2', 'container.rename'],
    ['put', '/containers/c1/archive?path=/', 'container.archive.put'],
    ['delete', '/volumes/v1', 'volume.remove'],
  ] as const;
  return Object.fromEntries(
    calls.map(([method, call, action]) => [`${method} ${route}`, async () => ({ path: path + call, headers, action })]),
  );
}
const apiToken = async (): Promise<string> => {
  return (await server.api.post('/api/v1/api-tokens', { name: 'short-lived', role: 'viewer' })).body.id;
};

/** Nothing listens there. */
const aDialledHost = () => ({ name: `nas-${randomUUID()}`, url: 'https://127.0.0.1:9', token: 'secret' });
const hawserToken = async (): Promise<string> => {
  return (await server.api.post('/api/hawser/tokens', { name: 'nas' })).body.id;
};

/** A host of Hawser, which is there once its agent has been. */
async function hawserHost(name: string): Promise<string> {
  const { body } = await server.api.post('/api/hawser/tokens', { name });
  await connectAgent(cleanup, { url: body.connectUrl, token: body.token, ca: server.caPem }).welcome;
  return `/api/v1/hosts/${name}/adoption`;
}

/** How each route is called so that it does something. One that is missing here fails the test. */
/** Nobody listens there: that it is tried is what counts. */
const webhook = { path: '/api/v1/webhooks', body: { url: 'http://127.0.0.1:9/' } };
const webhookId = async (): Promise<string> => (await server.api.post(webhook.path, webhook.body)).body.id;

const CALLS: Record<string, () => Promise<Call>> = {
  'post /api/v1/recover': async () => ({
    path: '/api/v1/recover',
    body: await recoveryOf('three'),
    action: 'recovery.request',
  }),
  'post /api/v1/recoveries/{id}/approve': async () => ({
    path: `/api/v1/recoveries/${await pendingRecovery('three')}/approve`,
    action: 'recovery.approve',
  }),
  'post /api/v1/recoveries/{id}/deny': async () => ({
    path: `/api/v1/recoveries/${await pendingRecovery('four')}/deny`,
    action: 'recovery.deny',
  }),
  [`post ${HOST}/release`]: async () => {
    inStore(`update hosts set quarantined_at = 1, quarantine_reason = 'a copy came' where name = 'four'`);
    return { path: '/api/v1/hosts/four/release', action: 'host.release' };
  },
  'post /api/v1/revocations': async () => ({
    path: '/api/v1/revocations',
    body: { hosts: ['three'] },
    action: 'host.revoke',
  }),
  'post /api/v1/users': async () => ({
    path: '/api/v1/users',
    body: { name: 'eve', role: 'viewer', password: PASSWORD },
    action: 'user.create',
  }),
  'put /api/v1/users/{user}/password': async () => ({
    path: '/api/v1/users/eve/password',
    body: { password: `${PASSWORD}!` },
    action: 'user.password',
  }),
  'delete /api/v1/users/{user}': async () => ({ path: '/api/v1/users/eve', action: 'user.remove' }),
  'post /api/v1/login': async () => ({
    path: '/api/v1/login',
    body: await user('ann'),
    token: null,
    action: 'login',
  }),
  'post /api/v1/logout': async () => {
    const answer = await server.api.post('/api/v1/login', await user('bob'), { token: null });
    const [cookie = ''] = (answer.headers['set-cookie'] ?? []).map((each) => each.split(';')[0] ?? '');
    const headers = { cookie, 'x-csrf-token': answer.body.csrfToken, origin: server.runtime.apiUrl };
    return { path: '/api/v1/logout', headers, token: null, action: 'logout' };
  },
  'post /api/v1/operator-certificates': async () => ({
    path: '/api/v1/operator-certificates',
    body: { csr: (await keyAndCsr()).csr, name: 'ann', role: 'viewer' },
    action: 'operator-certificate.create',
  }),
  'delete /api/v1/operator-certificates/{serial}': async () => ({
    path: `/api/v1/operator-certificates/${(await operatorCertificate()).serial}`,
    action: 'operator-certificate.revoke',
  }),
  'post /api/v1/backup': async () => {
    const [key, salt] = [32, 16].map((size) => randomBytes(size).toString('base64'));
    return { path: '/api/v1/backup', body: { key, salt, log2N: 15, r: 8, p: 1 }, action: 'backup.create' };
  },
  'post /api/v1/ca/request': async () => ({ path: '/api/v1/ca/request', action: 'ca.request' }),
  'post /api/v1/ca/import': async () => {
    offlineRoot = openCa(await createOfflineRoot({ clock: systemClock, bits: 2048 }));
    const { csr } = (await server.api.post('/api/v1/ca/request')).body;
    const signed = await offlineRoot.issueIntermediate({
      ...(await readCaRequest(csr)),
      ...{ days: 30, clock: systemClock },
    });
    return { path: '/api/v1/ca/import', body: { bundle: offlineRoot.certPem + signed.certPem }, action: 'ca.import' };
  },
  'post /api/v1/ca/rotation': async () => ({
    path: '/api/v1/ca/rotation',
    body: { action: 'abort' },
    action: 'ca.abort',
  }),
  'post /api/v1/api-tokens/{id}/rotate': async () => ({
    path: `/api/v1/api-tokens/${await apiToken()}/rotate`,
    body: {},
    action: 'api-token.rotate',
  }),
  'post /api/hawser/tokens': async () => {
    return { path: '/api/hawser/tokens', body: { name: 'nas' }, action: 'hawser-token.create' };
  },
  'post /api/hawser/tokens/{id}/rotate': async () => ({
    path: `/api/hawser/tokens/${await hawserToken()}/rotate`,
    body: {},
    action: 'hawser-token.rotate',
  }),
  'delete /api/hawser/tokens': async () => ({
    path: `/api/hawser/tokens?id=${await hawserToken()}`,
    action: 'hawser-token.revoke',
  }),
  'delete /api/hawser/tokens/{id}': async () => ({
    path: `/api/hawser/tokens/${await hawserToken()}`,
    action: 'hawser-token.revoke',
  }),
  [`post ${HOST}/adoption`]: async () => ({
    path: await hawserHost('adopted'),
    body: {},
    action: 'enrollment-token.create',
  }),
  [`delete ${HOST}/adoption`]: async () => {
    const path = await hawserHost('kept');
    await server.api.post(path, {});
    return { path, action: 'adoption.cancel' };
  },
  'post /api/v1/hawser-hosts': async () => ({
    path: '/api/v1/hawser-hosts',
    body: aDialledHost(),
    action: 'hawser-host.create',
  }),
  'patch /api/v1/hawser-hosts/{host}': async () => ({
    path: `/api/v1/hawser-hosts/${(await server.api.post('/api/v1/hawser-hosts', aDialledHost())).body.host.id}`,
    body: { token: 'another' },
    action: 'hawser-host.update',
  }),
  'post /api/v1/webhooks': async () => ({ ...webhook, action: 'webhook.create' }),
  'post /api/v1/webhooks/{id}/test': async () => ({
    path: `/api/v1/webhooks/${await webhookId()}/test`,
    action: 'webhook.test',
  }),
  'delete /api/v1/webhooks/{id}': async () => ({
    path: `/api/v1/webhooks/${await webhookId()}`,
    action: 'webhook.delete',
  }),
  'post /api/v1/enrollment-tokens': async () => ({
    path: '/api/v1/enrollment-tokens',
    body: {},
    action: 'enrollment-token.create',
  }),
  'delete /api/v1/enrollment-tokens/{id}': async () => {
    return { path: `/api/v1/enrollment-tokens/${(await newToken(server)).id}`, action: 'enrollment-token.revoke' };
  },
  'post /api/v1/enroll': async () => {
    const facts = { hostname: 'h', os: 'linux', arch: 'x64', agentVersion: '1' };
    return { path: '/api/v1/enroll', body: { token: 'wrong', csr: 'none', ...facts }, action: 'host.enroll' };
  },
  [`patch ${HOST}`]: async () => ({ path: '/api/v1/hosts/one', body: { tags: ['x'] }, action: 'host.update' }),
  [`post ${HOST}/revoke`]: async () => ({ path: '/api/v1/hosts/two/revoke', body: {}, action: 'host.revoke' }),
  [`delete ${HOST}`]: async () => ({ path: '/api/v1/hosts/two', action: 'host.remove' }),
  [`post ${HOST}/throughput`]: async () => ({
    path: '/api/v1/hosts/one/throughput',
    body: {},
    action: 'host.throughput',
  }),
  [`put ${STACK}`]: ofStack('', 'deploy', { compose: 'services: {web: {image: x}}' }),
  [`delete ${STACK}`]: ofStack('', 'remove'),
  [`post ${STACK}/scale`]: ofStack('/scale', 'scale', { services: { web: 2 } }),
  [`post ${STACK}/migrate`]: ofStack('/migrate', 'migrate', { to: 'elsewhere' }),
  [`post ${STACK}/rollback`]: ofStack('/rollback', 'rollback', { revision: 1 }),
  ...Object.fromEntries(
    ['start', 'stop', 'restart', 'pull', 'redeploy'].map((verb) => [
      `post ${STACK}/${verb}`,
      ofStack(`/${verb}`, verb, {}),
    ]),
  ),
  'post /api/v1/certificates/{serial}/revoke': async () => {
    const { certificate } = (await server.api.get('/api/v1/hosts/one')).body;
    return { path: `/api/v1/certificates/${certificate.serial}/revoke`, body: {}, action: 'certificate.revoke' };
  },
  'post /api/v1/api-tokens': async () => {
    return { path: '/api/v1/api-tokens', body: { name: 'new', role: 'viewer' }, action: 'api-token.create' };
  },
  'delete /api/v1/api-tokens/{id}': async () => ({
    path: `/api/v1/api-tokens/${await apiToken()}`,
    action: 'api-token.revoke',
  }),
  'post /api/v1/volume-transfers': async () => ({
    path: '/api/v1/volume-transfers',
    body: { from: { host: 'one', volume: 'a' }, to: { host: 'two', volume: 'b' } },
    action: 'volume.transfer',
  }),
  'delete /api/v1/volume-transfers/{id}': async () => ({
    path: '/api/v1/volume-transfers/none',
    action: 'volume.transfer.cancel',
  }),
  [`put ${HOST}/volumes/{volume}/archive`]: async () => ({
    ...{ path: '/api/v1/hosts/one/volumes/v1/archive', headers: { 'content-type': 'application/x-tar' } },
    action: 'volume.import',
  }),
  [`put ${CONTAINER}/archive`]: async () => ({
    ...{ path: '/api/v1/hosts/one/containers/c1/archive?path=/', headers: { 'content-type': 'application/x-tar' } },
    action: 'container.archive.put',
  }),
  [`post ${HOST}/images/load`]: async () => ({
    ...{ path: '/api/v1/hosts/one/images/load', headers: { 'content-type': 'application/x-tar' } },
    action: 'image.load',
  }),
  ...ofDocker('/api/v1/hosts/{host}/docker/{*}', '/api/v1/hosts/one/docker'),
  ...ofDocker('/api/v1/docker/{*}', '/api/v1/docker', { 'x-fairlead-host': 'one' }),
  ...ofObjects({
    'post containers': ['/containers?name=c3', 'container.create', { Image: 'none' }],
    'post containers/prune': ['/containers/prune', 'container.prune'],
    'post containers/{container}/rename': ['/containers/c1/rename', 'container.rename', { name: 'c2' }],
    'delete images/{image}': ['/images/a%2Fb', 'image.remove'],
    'post images/{image}/tag': ['/images/a%2Fb/tag', 'image.tag', { repo: 'c' }],
    'post images/prune': ['/images/prune', 'image.prune'],
    'post containers/{container}/exec': ['/containers/c1/exec', 'container.exec', { cmd: ['true'] }],
    'post images/pull': ['/images/pull', 'image.pull', { reference: 'a/b' }],
    'post networks': ['/networks', 'network.create', { Name: 'lan' }],
    'delete networks/{network}': ['/networks/lan', 'network.remove'],
    'post networks/{network}/connect': ['/networks/lan/connect', 'network.connect', { Container: 'c1' }],
    'post networks/{network}/disconnect': ['/networks/lan/disconnect', 'network.disconnect', { Container: 'c1' }],
    'post networks/prune': ['/networks/prune', 'network.prune'],
    'post volumes': ['/volumes', 'volume.create', { Name: 'v1' }],
    'delete volumes/{volume}': ['/volumes/v1', 'volume.remove'],
    'post volumes/prune': ['/volumes/prune', 'volume.prune'],
  }),
  'post /api/v1/containers/actions': async () => ({
    ...{ path: '/api/v1/containers/actions', body: { action: 'stop', select: { name: ['nobody'] } } },
    action: 'container.bulk',
  }),
  'post /api/v1/stacks/actions': async () => ({
    ...{ path: '/api/v1/stacks/actions', body: { action: 'stop', select: { name: ['nobody'] } } },
    action: 'stack.bulk',
  }),
  [`delete ${CONTAINER}`]: ofContainer('remove'),
  ...Object.fromEntries(
    ['start', 'stop', 'restart', 'kill', 'pause', 'unpause'].map((action) => [
      `post ${CONTAINER}/${action}`,
      ofContainer(action),
    ]),
  ),
};

const rows = async (action: string): Promise<{ id: number; result: string; actor: string }[]> => {
  return (await server.api.get(`/api/v1/audit?action=${encodeURIComponent(action)}`)).body.items;
};

test('every route that changes something leaves a row', async (t) => {
  const { paths } = (await server.api.get('/api/v1/openapi.json')).body as { paths: Record<string, object> };
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).flatMap((method) => (CHANGES.includes(method) ? [`${method} ${path}`] : [])),
  );
  assert.ok(routes.length >= 15, routes.join(', '));
  const gone = Object.keys(CALLS).filter((route) => !routes.includes(route));
  assert.deepEqual(gone, [], 'these routes are in CALLS and no longer there');
  const missing = routes.filter((route) => !NO_CHANGE.has(route) && CALLS[route] === undefined);
  assert.deepEqual(missing, [], 'say in CALLS how these routes are called and which row they leave');
  // The order of CALLS: what takes hosts away comes after what needs them.
  for (const [route, make] of Object.entries(CALLS)) {
    await t.test(route, async () => {
      const { path, body, action, headers = {}, token } = await make();
      const before = (await rows(action)).length;
      const [method = ''] = route.split(' ');
      const answer = await server.api.request(method.toUpperCase(), path, {
        ...{ headers, ...(body === undefined ? {} : { body }), ...(token === undefined ? {} : { token }) },
      });
      const after = await rows(action);
      assert.equal(after.length, before + 1, `${answer.status} ${answer.text}`);
      assert.equal(after[0]?.result, answer.status < 300 ? 'ok' : answer.status === 401 ? 'refused' : 'failed');
    });
  }
});

/** Whoever shows `pair` at the agents' port, and asks for a session if TLS lets it. */
async function knock({ key, cert }: Pair): Promise<void> {
  const { hostname: host, port } = new URL(server.runtime.agentUrl);
  const trust = { ca: server.caPem, servername: INTERNAL_SERVER_NAME };
  const socket = tls.connect({ host, port: Number(port), key, cert, ...trust });
  const upgrade = [
    'connection: upgrade',
    'upgrade: websocket',
    'sec-websocket-version: 13',
    'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==',
  ];
  const lines = ['GET /agent HTTP/1.1', 'host: x', ...upgrade, `sec-websocket-protocol: ${SUBPROTOCOL}`, '', ''];
  socket.once('secureConnect', () => socket.write(lines.join('\r\n')));
  socket.on('error', () => undefined);
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
}

test('who is refused at the agents’ port leaves a row that says who, from where and why', async () => {
  await joined('revoked');
  const { id, certificate } = (await server.api.get('/api/v1/hosts/revoked')).body;
  await server.api.post('/api/v1/hosts/revoked/revoke', { reason: 'stolen' });
  const own = await operatorCertificate();
  const stranger = await testCa();
  const { key } = await keyAndCsr();
  const spki = spkiOf(createPublicKey(key));
  const { installationId } = (await server.api.get('/api/v1/ca')).body;
  const foreign = await stranger.ca.issueAgent({ spki, hostId: id, installationId, clock: systemClock });
  const before = (await rows('host.connect')).length;
  for (const pair of [pairOf('revoked'), own, { key, cert: foreign.certPem }]) await knock(pair);
  const found = await waitFor('the rows', async () => {
    const all = (await server.api.get('/api/v1/audit?action=host.connect')).body.items;
    return all.length >= before + 3 && all.slice(0, all.length - before);
  });
  const facts = found.map(({ actor, address, result, detail }: Record<string, Record<string, unknown>>) => [
    ...[actor, address, result, detail?.['code'], detail?.['reason'], detail?.['serial']],
  ]);
  const from = ['127.0.0.1', 'refused'];
  const wrongCa = 'the certificate is not of a CA of this installation (UNABLE_TO_VERIFY_LEAF_SIGNATURE)';
  const stolen = "this host's certificate was revoked: stolen";
  assert.deepEqual(facts.reverse(), [
    ['host:revoked', ...from, 'CERT_REVOKED', stolen, certificate.serial],
    ['anonymous', ...from, 'CERT_UNKNOWN', 'the certificate names no agent of this installation', own.serial],
    ['anonymous', ...from, 'CERT_UNKNOWN', wrongCa, undefined],
  ]);
  // It comes back all the time.
  for (let i = 0; i < 20; i++) await knock(pairOf('revoked'));
  const { body } = await server.api.get(`/api/v1/audit?action=host.connect&host=${id}`);
  assert.ok(body.items.length <= 3, `${body.items.length} rows of one host`);
  const { body: other } = await server.api.get('/api/v1/audit/verify');
  assert.equal(other.ok, true);
});

test('an exec, a login and refusals leave rows', async () => {
  const viewer = (await server.api.post('/api/v1/api-tokens', { name: 'looker', role: 'viewer' })).body.token;
  const asViewer = new Api({ url: server.runtime.apiUrl, ca: server.caPem, token: viewer });
  await asViewer.get('/api/v1/hosts');
  assert.equal((await asViewer.get('/api/v1/audit')).status, 403);
  assert.equal((await asViewer.get('/api/v1/hosts', { token: `${viewer.slice(0, -4)}AAAA` })).status, 401);
  const { items } = (await server.api.get('/api/v1/audit?limit=20')).body as {
    items: { actor: string; action: string; result: string }[];
  };
  const seen = items.map(({ actor, action, result }) => `${actor} ${action} ${result}`);
  for (const row of ['looker login ok', 'looker GET /api/v1/audit refused', 'anonymous login refused']) {
    assert.ok(seen.includes(row), `${row} is not among ${seen.join(', ')}`);
  }
  const before = (await rows('container.exec')).length;
  const command = ['mysql', '--password=hunter2', '--token', 'hunter2', 'select 1'].map(
    (arg) => `cmd=${encodeURIComponent(arg)}`,
  );
  const socket = server.api.webSocket(`/api/v1/hosts/one/containers/c1/exec?${command.join('&')}`);
  await new Promise((resolve) => socket.once('error', resolve));
  const [row] = (await server.api.get('/api/v1/audit?action=container.exec')).body.items;
  assert.equal((await rows('container.exec')).length, before + 1);
  assert.deepEqual(row.detail.cmd, ['mysql', '--password=[redacted]', '--token', '[redacted]', 'select 1']);
});
