/** The families of routes that only ask a service: what they ask it, and how they answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { HOST, NOW } from './fake-host.ts';
import { as, ask, fakeDeps, fixture } from './fakes.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

test('health, readiness and metrics', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  assert.deepEqual((await ask(api, '/healthz')).json(), { status: 'ok', version: '0.1.0' });
  assert.deepEqual((await ask(api, '/readyz')).json(), { ready: true, checks: { store: { ok: true } } });
  assert.equal((await ask(api, { method: 'HEAD', url: '/healthz' })).statusCode, 200);
  const metrics = await ask(api, { url: '/metrics', headers: as('viewer') });
  assert.equal(metrics.body, 'fairlead_info 1\n');
  assert.match(metrics.headers['content-type'] ?? '', /version=0\.0\.4/);
});

test('a server that is not ready says why', async (t) => {
  const checks = { store: { ok: false, detail: 'the disk is full' } };
  const { api } = await fixture({ overrides: { ready: async () => ({ ready: false, checks }) } });
  t.after(() => api.close());
  const answer = await ask(api, '/readyz');
  assert.equal(answer.statusCode, 503);
  assert.deepEqual(answer.json().checks, checks);
  assert.ok(answer.headers['retry-after']);
});

test('the CA is public', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const pem = await ask(api, '/ca.pem');
  assert.match(pem.headers['content-type'] ?? '', /x-pem-file/);
  assert.match(pem.body, /BEGIN CERTIFICATE/);
  const ca = (await ask(api, '/api/v1/ca')).json();
  assert.equal(ca.fingerprint, 'sha256:00');
  assert.equal(ca.notAfter, '2026-01-02T03:04:05.000Z');
});

test('whoami', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  assert.deepEqual((await ask(api, { url: '/api/v1/whoami', headers: as('operator') })).json(), {
    tokenId: 'id-operator',
    name: 'the-operator',
    role: 'operator',
    scope: null,
    serverVersion: '0.1.0',
  });
});

test('an enrollment token comes with the commands to use it', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const made = await ask(api, {
    method: 'POST',
    url: '/api/v1/enrollment-tokens',
    headers: as('admin'),
    payload: { name: 'lab', ttlSeconds: 600, hostName: 'edge-2', tags: ['lab'] },
  });
  assert.equal(made.statusCode, 201);
  assert.deepEqual(made.json(), {
    id: 'e1',
    token: 'fle1.secret',
    expiresAt: new Date(NOW).toISOString(),
    caFingerprint: 'sha256:00',
    enrollCommand: 'echo fle1.secret | fairlead-agent enroll --server https://server:8440 --token -',
    installCommand: 'install with fle1.secret',
  });
  const asked = calls.find(({ name }) => name === 'enrollment.createToken');
  assert.deepEqual(asked?.args[0], { name: 'lab', ttlSeconds: 600, hostName: 'edge-2', tags: ['lab'] });
  assert.deepEqual(asked?.args[1], { name: 'the-admin', address: '127.0.0.1' });
});

test('a body may be left out where nothing in it is needed', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const made = await ask(api, { method: 'POST', url: '/api/v1/enrollment-tokens', headers: as('admin') });
  assert.equal(made.statusCode, 201, made.body);
  const headers = { ...as('admin'), ...JSON_TYPE };
  assert.equal((await ask(api, { method: 'DELETE', url: '/api/v1/hosts/edge-1', headers })).statusCode, 204);
});

test('lists pass limit and cursor on, and answer items and nextCursor', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const list = await ask(api, { url: '/api/v1/enrollment-tokens?limit=3&cursor=abc', headers: as('admin') });
  assert.deepEqual(list.json(), { items: [], nextCursor: 'next' });
  for (const url of ['hosts', 'certificates', 'revocations', 'api-tokens', 'audit']) {
    const answer = await ask(api, { url: `/api/v1/${url}`, headers: as('admin') });
    assert.equal(answer.statusCode, 200, answer.body);
    assert.equal(answer.json().nextCursor, null);
  }
});

test('a host is shown with all its fields, whatever is known of it', async (t) => {
  const bare = {
    id: HOST.id,
    name: 'new',
    kind: 'native' as const,
    state: 'pending' as const,
    tags: [],
    createdAt: NOW,
  };
  const { api } = await fixture({ hosts: [HOST, bare] });
  t.after(() => api.close());
  const shown = (await ask(api, { url: '/api/v1/hosts/edge-1', headers: as('viewer') })).json();
  assert.equal(shown.certificate.serial, 'AB12');
  assert.deepEqual(shown.docker, { reachable: true, version: '20.10' });
  const pending = (await ask(api, { url: '/api/v1/hosts/new', headers: as('viewer') })).json();
  assert.deepEqual([pending.lastSeenAt, pending.docker, pending.certificate], [null, null, null]);
});

test('hosts are renamed, tagged, revoked and removed', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const actor = { name: 'the-admin', address: '127.0.0.1' };
  const url = '/api/v1/hosts/edge-1';
  const patched = await ask(api, { method: 'PATCH', url, headers: as('admin'), payload: { name: 'edge-9' } });
  assert.equal(patched.json().name, 'edge-9');
  await ask(api, { method: 'POST', url: `${url}/revoke`, headers: as('admin'), payload: { reason: 'stolen' } });
  await ask(api, { method: 'DELETE', url, headers: as('admin') });
  assert.deepEqual(
    calls.filter(({ name }) => name.startsWith('hosts.')),
    [
      { name: 'hosts.update', args: ['edge-1', { name: 'edge-9' }, actor] },
      { name: 'hosts.revoke', args: [HOST.id, 'stolen', actor] },
      { name: 'hosts.remove', args: ['edge-1', actor] },
    ],
  );
  const empty = await ask(api, { method: 'PATCH', url, headers: as('admin'), payload: {} });
  assert.equal(empty.statusCode, 400);
});

test('a certificate is revoked by its serial, however it is written', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const answer = await ask(api, { method: 'POST', url: '/api/v1/certificates/ab:12/revoke', headers: as('admin') });
  assert.equal(answer.statusCode, 204, answer.body);
  assert.deepEqual(calls.find(({ name }) => name === 'hosts.revokeSerial')?.args.slice(0, 2), [
    'AB12',
    'no reason given',
  ]);
});

test('an API token is made for a time in the future only', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const make = (expiresAt: string) =>
    ask(api, {
      method: 'POST',
      url: '/api/v1/api-tokens',
      headers: as('admin'),
      payload: { name: 'ci', role: 'viewer', expiresAt },
    });
  assert.equal((await make('2001-01-01T00:00:00Z')).statusCode, 400);
  assert.equal((await make('tomorrow')).statusCode, 400);
  const made = await make('2999-01-01T00:00:00+01:00');
  assert.equal(made.statusCode, 201);
  assert.equal(made.json().expiresAt, '2998-12-31T23:00:00.000Z');
  const [asked] = calls.find(({ name }) => name === 'apiTokens.create')?.args ?? [];
  assert.deepEqual(asked, { name: 'ci', role: 'viewer', expiresAt: Date.parse('2998-12-31T23:00:00Z') });
});

const ENROLL = { token: 'good', csr: 'PEM', hostname: 'h', os: 'linux', arch: 'x64', agentVersion: '0.1.0' };

test('a host enrolls without a bearer', async (t) => {
  const { api } = await fixture();
  t.after(() => api.close());
  const answer = await ask(api, { method: 'POST', url: '/api/v1/enroll', payload: ENROLL });
  assert.equal(answer.statusCode, 201);
  assert.deepEqual(answer.json(), {
    hostId: HOST.id,
    name: 'edge-1',
    certificate: 'CERT',
    ca: 'CA',
    agentUrl: 'wss://server:8443/agent',
    notAfter: new Date(NOW).toISOString(),
  });
});

test('enrolling is limited: the body, the request in it, and how often', async (t) => {
  const limits = { enrollsPerMinute: 6, refusedEnrollsPerMinute: 2 };
  const { api } = await fixture({ overrides: { limits } });
  t.after(() => api.close());
  const enroll = (payload: object) => ask(api, { method: 'POST', url: '/api/v1/enroll', payload });
  const large = await enroll({ ...ENROLL, csr: 'x'.repeat(20_000) });
  assert.deepEqual([large.statusCode, large.json().code], [400, 'CSR_INVALID']);
  const huge = await enroll({ ...ENROLL, csr: 'x'.repeat(70_000) });
  assert.deepEqual([huge.statusCode, huge.json().code], [413, 'PAYLOAD_TOO_LARGE']);
  for (const status of [401, 401, 429]) assert.equal((await enroll({ ...ENROLL, token: 'bad' })).statusCode, status);
  assert.equal((await enroll(ENROLL)).statusCode, 201, 'a good token is not held up by bad ones');
  const limited = await enroll(ENROLL);
  assert.deepEqual([limited.statusCode, limited.json().code], [429, 'RATE_LIMITED']);
  assert.ok(Number(limited.headers['retry-after']) > 0);
  assert.equal((await ask(api, { url: '/api/v1/hosts', headers: as('viewer') })).statusCode, 200);
});

test('all enrolls together are limited, too, whatever their addresses', async (t) => {
  const overrides = { limits: { enrollsPerMinuteInTotal: 2 }, trustProxy: true };
  const { api } = await fixture({ overrides });
  t.after(() => api.close());
  const from = (address: string) =>
    ask(api, { method: 'POST', url: '/api/v1/enroll', payload: ENROLL, headers: { 'x-forwarded-for': address } });
  assert.equal((await from('10.0.0.1')).statusCode, 201);
  assert.equal((await from('10.0.0.2')).statusCode, 201);
  assert.equal((await from('10.0.0.3')).statusCode, 429);
});

test('errors of the store keep their codes', async (t) => {
  const full = new FairleadError('STORE_FULL', 'the disk under the data directory is full');
  const hosts = { ...fakeDeps().deps.hosts, update: () => Promise.reject(full) };
  const { api } = await fixture({ overrides: { hosts } });
  t.after(() => api.close());
  const answer = await ask(api, {
    method: 'PATCH',
    url: '/api/v1/hosts/edge-1',
    headers: as('admin'),
    payload: { name: 'x' },
  });
  assert.deepEqual([answer.statusCode, answer.json().code], [507, 'STORE_FULL']);
});

test('a host by itself comes with what its session has measured, in a list it does not', async (t) => {
  const toAgent = {
    ...{ roundTripIdleMs: 40, inFlightBytes: 9, creditStarvedMs: 2, socketBlockedMs: 1 },
    queuedBytes: { control: 1, interactive: 2, bulk: 3 },
  };
  const compressed = { rawBytes: 10, wireBytes: 3 };
  const counted = {
    ...{ bytesIn: 5, bytesOut: 6, openStreams: 1, memoryBytes: 7 },
    ...{ compressedIn: compressed, compressedOut: compressed },
  };
  const traffic = { ...counted, toAgent, fromAgent: undefined };
  const { api } = await fixture({
    hosts: [
      { ...HOST, traffic },
      { ...HOST, id: 'other', name: 'other' },
    ],
  });
  t.after(() => api.close());
  const show = async (host: string) => (await ask(api, { url: `/api/v1/hosts/${host}`, headers: as('viewer') })).json();
  const unknown = { roundTripMs: null, deliveryBytesPerSecond: null, inFlightLimitBytes: null };
  assert.deepEqual((await show('edge-1')).link, {
    ...counted,
    toAgent: { ...toAgent, ...unknown },
    fromAgent: null,
  });
  assert.equal((await show('other')).link, null);
  const { items } = (await ask(api, { url: '/api/v1/hosts', headers: as('viewer') })).json();
  assert.ok(items.every((host: object) => !('link' in host)));
});

test('a host asks for its way back, and is told to wait, let in or denied', async (t) => {
  const { api, audit } = await fixture();
  t.after(() => api.close());
  const recoverBy = async (payload: object) => await ask(api, { method: 'POST', url: '/api/v1/recover', payload });
  const body = (proof: string) => ({ certificate: 'CERT', csr: 'CSR', proof });
  const waiting = await recoverBy(body('wait'));
  assert.deepEqual([waiting.statusCode, waiting.json()], [202, { status: 'pending' }]);
  const good = await recoverBy(body('good'));
  assert.deepEqual(
    [good.statusCode, good.json()],
    [201, { certificate: 'CERT', notAfter: new Date(NOW).toISOString() }],
  );
  const denied = await recoverBy(body('bad'));
  assert.deepEqual([denied.statusCode, denied.json().code], [403, 'RECOVERY_DENIED']);
  assert.deepEqual(
    audit.filter(({ action }) => action === 'host.recover').map(({ result }) => result),
    ['refused'],
  );
  assert.equal((await recoverBy({ ...body('good'), role: 'admin' })).statusCode, 400);
  assert.equal((await recoverBy({ ...body('good'), csr: 'x'.repeat(20_000) })).json().code, 'CSR_INVALID');
});

test('recoveries are decided, and hosts released, by administrators alone', async (t) => {
  const { api, calls } = await fixture();
  t.after(() => api.close());
  const actor = { name: 'the-admin', address: '127.0.0.1' };
  for (const [url, name, target] of [
    ['/api/v1/recoveries/r1/approve', 'recovery.approve', 'r1'],
    ['/api/v1/recoveries/r1/deny', 'recovery.deny', 'r1'],
    ['/api/v1/hosts/edge-1/release', 'quarantine.release', HOST.id],
  ] as const) {
    assert.equal((await ask(api, { method: 'POST', url, headers: as('operator') })).statusCode, 403, url);
    const done = await ask(api, { method: 'POST', url, headers: as('admin') });
    assert.ok(done.statusCode < 300, done.body);
    assert.deepEqual(calls.find((call) => call.name === name)?.args, [target, actor]);
  }
  assert.equal((await ask(api, { url: '/api/v1/recoveries', headers: as('operator') })).statusCode, 403);
  assert.deepEqual((await ask(api, { url: '/api/v1/recoveries', headers: as('admin') })).json().items, []);
});

test('a host in quarantine is shown as such', async (t) => {
  const quarantine = { at: NOW, reason: 'a copy' };
  const { api } = await fixture({ hosts: [{ ...HOST, state: 'offline', quarantine }] });
  t.after(() => api.close());
  const shown = (await ask(api, { url: '/api/v1/hosts/edge-1', headers: as('viewer') })).json();
  assert.deepEqual(shown.quarantine, { at: new Date(NOW).toISOString(), reason: 'a copy' });
});
