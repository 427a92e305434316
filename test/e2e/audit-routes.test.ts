/** Every route that changes something leaves a row in the audit log: the list of routes comes from the server itself. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Api } from '../support/http.ts';
import { enroll, newToken, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';

const CHANGES = ['post', 'put', 'patch', 'delete'];
/** Routes that change nothing, whatever their method. */
const NO_CHANGE = new Set(['post /api/v1/hosts/{host}/ping']);
const HOST = '/api/v1/hosts/{host}';
const CONTAINER = `${HOST}/containers/{container}`;

const cleanup = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(cleanup);
  await enroll(cleanup, server, 'one');
  await enroll(cleanup, server, 'two');
});

interface Call {
  readonly path: string;
  readonly body?: unknown;
  /** Of the row; without it, any that is new. */
  readonly action: string;
}

const ofContainer = (action: string): (() => Promise<Call>) => {
  return async () => ({
    path: `/api/v1/hosts/one/containers/c1${action === 'remove' ? '' : `/${action}`}`,
    action: `container.${action}`,
  });
};
const apiToken = async (): Promise<string> => {
  return (await server.api.post('/api/v1/api-tokens', { name: 'short-lived', role: 'viewer' })).body.id;
};

/** How each route is called so that it does something. One that is missing here fails the test. */
const CALLS: Record<string, () => Promise<Call>> = {
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
  const missing = routes.filter((route) => !NO_CHANGE.has(route) && CALLS[route] === undefined);
  assert.deepEqual(missing, [], 'say in CALLS how these routes are called and which row they leave');
  // The order of CALLS: what takes hosts away comes after what needs them.
  for (const [route, make] of Object.entries(CALLS)) {
    if (!routes.includes(route)) continue;
    await t.test(route, async () => {
      const { path, body, action } = await make();
      const before = (await rows(action)).length;
      const [method = ''] = route.split(' ');
      const answer = await server.api.request(method.toUpperCase(), path, body === undefined ? {} : { body });
      const after = await rows(action);
      assert.equal(after.length, before + 1, `${answer.status} ${answer.text}`);
      assert.equal(after[0]?.result, answer.status < 300 ? 'ok' : answer.status === 401 ? 'refused' : 'failed');
    });
  }
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
