/** `hawser adopt`: what is handed out and how, how far it is, and taking it back. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { fakeApi, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

const PATH = '/api/v1/hosts/nas/adoption';
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

test('hands out the command for the new agent, and says what becomes of the old one', async (t) => {
  const server = await fakeApi(t, identity);
  const made = { id: 'e1', token: 'fle1.x', expiresAt: '2030-01-01T00:10:00Z', caFingerprint: 'sha256:00' };
  const enrollCommand = 'echo fle1.x | fairlead-agent enroll --server https://s:8440 --token -';
  server.on(`POST ${PATH}`, () => ({ ...made, hostId: 'h1', hostName: 'nas', enrollCommand }));
  const { code, out } = await runAgainst(server, ['hawser', 'adopt', 'nas', '--ttl', '10m']);
  assert.equal(code, 0, out);
  assert.deepEqual(server.requests.at(-1)?.body, { ttlSeconds: 600 });
  assert.ok(out.includes(`  ${enrollCommand}\n`), out);
  assert.match(out, /beside the agent of Hawser, which goes on meanwhile/);
  const json = await runAgainst(server, ['hawser', 'adopt', 'nas', '--json']);
  assert.equal(JSON.parse(json.out).token, 'fle1.x');
  assert.deepEqual(server.requests.at(-1)?.body, {});
});

test('says how far it is, and why it is no further', async (t) => {
  const server = await fakeApi(t, identity);
  const view = { hostId: 'h1', hostName: 'nas', tokenId: 'e1', expiresAt: '2030-01-01T00:10:00Z' };
  server.on(`GET ${PATH}`, () => ({ ...view, state: 'trying', why: 'the new agent does not reach Docker: no socket' }));
  const tried = await runAgainst(server, ['hawser', 'adopt', 'nas', '--status']);
  assert.match(tried.out, /connected, and does not serve the host yet/);
  assert.match(tried.out, /no socket/);
  assert.ok(!tried.out.includes('Expires'));
  server.on(`GET ${PATH}`, () => ({ ...view, state: 'offered', why: null }));
  assert.match((await runAgainst(server, ['hawser', 'adopt', 'nas', '--status'])).out, /Expires.*in 10/);
});

test('takes back what was handed out', async (t) => {
  const server = await fakeApi(t, identity);
  server.on(`DELETE ${PATH}`, (_seen, response) => void response.writeHead(204).end());
  const { code, out } = await runAgainst(server, ['hawser', 'adopt', 'nas', '--cancel']);
  assert.deepEqual([code, out], [0, 'Cancelled: nas stays with its agent of Hawser.\n']);
  server.on(`DELETE ${PATH}`, (_seen, response) => problem(response, 404, 'NOT_FOUND', 'nothing is to take nas over'));
  const again = await runAgainst(server, ['hawser', 'adopt', 'nas', '--cancel']);
  assert.equal(again.code, 1);
  assert.match(again.err, /nothing is to take nas over/);
});
