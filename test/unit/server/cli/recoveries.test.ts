import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { before, type TestContext, test } from 'node:test';
import { fakeApi, type Identity, makeIdentity, runAgainst } from './fixtures.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

const row = (id: string, hostName: string, state: string) => ({
  ...{ id, hostName, state, hostId: `${id}-host`, serial: 'AB', why: 'the certificate expired', spkiPin: 'sha256:00' },
  ...{ address: '192.0.2.1', requestedAt: '2029-12-31T23:00:00Z', expiresAt: '2030-01-07T23:00:00Z' },
});

async function api(t: TestContext) {
  const server = await fakeApi(t, identity);
  const done = (_seen: unknown, response: ServerResponse) => void response.writeHead(204).end();
  const items = [row('r1', 'alpha', 'pending'), row('r2', 'beta', 'denied'), row('r3', 'gamma', 'pending')];
  server.on('GET /api/v1/recoveries', () => ({ items, nextCursor: null }));
  for (const id of ['r1', 'r2', 'r3']) {
    for (const what of ['approve', 'deny']) server.on(`POST /api/v1/recoveries/${id}/${what}`, done);
  }
  server.on('POST /api/v1/hosts/alpha/release', () => ({}));
  const posted = () => server.requests.filter(({ method }) => method === 'POST').map(({ url }) => url.pathname);
  return { server, posted };
}

test('hosts that ask are listed with all that is needed to decide', async (t) => {
  const { server } = await api(t);
  const { code, out } = await runAgainst(server, ['host', 'recoveries']);
  assert.equal(code, 0);
  assert.match(out, /alpha +pending +1h ago +192\.0\.2\.1 +the certificate expired +sha256:00/);
});

test('one host is approved by its name in any case, or its id; or all that wait', async (t) => {
  const { server, posted } = await api(t);
  assert.equal((await runAgainst(server, ['host', 'approve', 'Alpha'])).code, 0);
  assert.equal((await runAgainst(server, ['host', 'approve', 'r2-host'])).code, 0);
  const all = await runAgainst(server, ['host', 'approve', '--all']);
  assert.equal(all.out, 'Approved alpha.\nApproved gamma.\n');
  assert.deepEqual(
    posted(),
    ['r1', 'r2', 'r1', 'r3'].map((id) => `/api/v1/recoveries/${id}/approve`),
  );
  for (const args of [['approve'], ['approve', 'alpha', '--all'], ['deny']]) {
    assert.equal((await runAgainst(server, ['host', ...args])).code, 2, args.join(' '));
  }
});

test('a host is denied or released; one that asks for nothing is named', async (t) => {
  const { server, posted } = await api(t);
  assert.equal((await runAgainst(server, ['host', 'deny', 'gamma'])).out, 'Denied gamma.\n');
  assert.equal((await runAgainst(server, ['host', 'release', 'alpha'])).out, 'Released alpha.\n');
  assert.deepEqual(posted(), ['/api/v1/recoveries/r3/deny', '/api/v1/hosts/alpha/release']);
  const { code, err } = await runAgainst(server, ['host', 'deny', 'nobody']);
  assert.equal(code, 1);
  assert.match(err, /nobody asks for no certificate/);
});
