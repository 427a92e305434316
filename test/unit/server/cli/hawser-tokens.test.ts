/** `hawser token`: what is asked of the server, and what is shown of a token, this once. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { fakeApi, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

const PATH = '/api/hawser/tokens';
const SECRET = 'AbCdEfGh-secret';
const MADE = { id: 'w1', token: SECRET, host: null, expiresAt: null, connectUrl: 'wss://s:8440/api/hawser/connect' };
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

test('a token is made for a name alone, and shown with what the agent is to be given', async (t) => {
  const server = await fakeApi(t, identity);
  server.on(`POST ${PATH}`, () => MADE);
  const { code, out, err } = await runAgainst(server, ['hawser', 'token', 'create', '--name', 'nas']);
  assert.deepEqual([code, err], [0, '']);
  assert.deepEqual(server.requests.at(-1)?.body, { name: 'nas' });
  assert.match(out, /^Host: +made when its agent first connects$/m);
  assert.match(out, /^Expires: +never$/m);
  assert.ok(out.includes(`  DOCKHAND_SERVER_URL=${MADE.connectUrl}\n  TOKEN=${SECRET}\n  CA_CERT=`), out);
});

test('a token is made for a host that is there, until a time', async (t) => {
  const server = await fakeApi(t, identity);
  const expiresAt = '2030-01-01T12:00:00.000Z';
  server.on(`POST ${PATH}`, () => ({ ...MADE, host: { name: 'nas' }, expiresAt }));
  const create = ['hawser', 'token', 'create', '--name', 'n', '--host', 'nas', '--expires', '12h'];
  const { out } = await runAgainst(server, create);
  assert.deepEqual(server.requests.at(-1)?.body, { name: 'n', host: 'nas', expiresAt });
  assert.match(out, /^Host: +nas$/m);
  assert.ok(out.includes(expiresAt), out);
  const json = await runAgainst(server, [...create, '--json']);
  assert.deepEqual(JSON.parse(json.out), { ...MADE, host: { name: 'nas' }, expiresAt });
});

test('no request is made of a token without a name, or with a time that is none', async (t) => {
  const server = await fakeApi(t, identity);
  for (const [args, why] of [
    [[], /--name/],
    [['--name', 'n', '--expires', 'soon'], /duration such as/],
    [['--name', 'n', '--expires', '999999999d'], /--expires.*too far/],
  ] as const) {
    const { code, err } = await runAgainst(server, ['hawser', 'token', 'create', ...args]);
    assert.equal(code, 2, err);
    assert.match(err, why);
  }
  assert.ok(!server.requests.some(({ method }) => method === 'POST'));
});

test('tokens are listed by what they begin with, and whether their agents are there', async (t) => {
  const server = await fakeApi(t, identity);
  const row = {
    ...{ id: 'w1', name: 'nas', prefix: 'AbCdEfGh', state: 'active', connected: true, host: { id: 'h1', name: null } },
    ...{ createdAt: '2029-12-31T00:00:00Z', expiresAt: '2030-01-01T01:00:00Z', lastUsedAt: null },
  };
  const items = [row, { ...row, id: 'w2', state: 'revoked', connected: false, host: null, expiresAt: null }];
  server.on(`GET ${PATH}`, () => ({ items, nextCursor: null }));
  const { code, out } = await runAgainst(server, ['hawser', 'token', 'ls']);
  assert.equal(code, 0, out);
  const [head, first, second] = out.split('\n');
  assert.match(head ?? '', /^ID +NAME +TOKEN +STATE +HOST +CREATED +LAST USED +EXPIRES/);
  assert.match(first ?? '', /^w1 +nas +AbCdEfGh… +connected +h1 .*in /);
  assert.match(second ?? '', /^w2 +nas +AbCdEfGh… +revoked /);
  const json = await runAgainst(server, ['hawser', 'token', 'ls', '--json']);
  assert.deepEqual(JSON.parse(json.out), items);
});

test('a token is revoked by its id, and an unknown one is an error', async (t) => {
  const server = await fakeApi(t, identity);
  server.on(`DELETE ${PATH}/w1`, (_seen, response) => void response.writeHead(204).end());
  const { code, out } = await runAgainst(server, ['hawser', 'token', 'rm', 'w1']);
  assert.deepEqual([code, out], [0, 'Revoked w1.\n']);
  server.on(`DELETE ${PATH}/w2`, (_seen, response) => problem(response, 404, 'NOT_FOUND', 'there is no token w2'));
  const unknown = await runAgainst(server, ['hawser', 'token', 'rm', 'w2']);
  assert.deepEqual([unknown.code, unknown.out], [1, '']);
  assert.match(unknown.err, /there is no token w2/);
});

test('a token is rotated with an overlap or with none', async (t) => {
  const server = await fakeApi(t, identity);
  const made = { ...MADE, id: 'w2', replacedEndsAt: '2030-01-01T01:00:00Z' };
  server.on(`POST ${PATH}/w1/rotate`, () => made);
  const { code, out } = await runAgainst(server, ['hawser', 'token', 'rotate', 'w1', '--overlap', '1h']);
  assert.equal(code, 0, out);
  assert.deepEqual(server.requests.at(-1)?.body, { overlapSeconds: 3600 });
  assert.match(out, new RegExp(`^Token: +${SECRET}$`, 'm'));
  assert.match(out, /^Old one ends: +2030-01-01T01:00:00Z \(in /m);
  const json = await runAgainst(server, ['hawser', 'token', 'rotate', 'w1', '--json']);
  assert.deepEqual(JSON.parse(json.out), made);
  assert.deepEqual(server.requests.at(-1)?.body, {});
});
