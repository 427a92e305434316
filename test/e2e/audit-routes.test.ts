/** Every route that changes something leaves a row in the audit log: the list of routes comes from the server itself. */
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { before, test } from 'node:test';
import tls from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { spkiOf } from '../../certs/pin.ts';
import { systemClock } from '../../shared/clock.ts';
import { SUBPROTOCOL } from '../../shared/messages/index.ts';
import { CALLS } from '../support/audit-calls.ts';
import {
  joined,
  keyAndCsr,
  operatorCertificate,
  type Pair,
  pairOf,
  server,
  startScene,
} from '../support/audit-scene.ts';
import { Api } from '../support/http.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';
import { testCa } from '../unit/certs/fixtures.ts';

const CHANGES = ['post', 'put', 'patch', 'delete'];
/** Routes that change nothing, whatever their method. */
const NO_CHANGE = new Set(['post /api/v1/hosts/{host}/ping']);

const cleanup = fileCleanup();
before(() => startScene(cleanup));

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
