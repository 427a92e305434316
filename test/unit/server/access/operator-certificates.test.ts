/** Operator certificates as clients see them, over real TLS: who gets in, who does not, and when that ends. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import https from 'node:https';
import { before, test } from 'node:test';
import tls from 'node:tls';
import { createCa, openCa } from '../../../../certs/authority.ts';
import { checkGrant, scopeOf } from '../../../../server/access/grants.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { forgedCertificate } from '../../../support/forged.ts';
import { fileCleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';
import { issued, newKey, type Pair, type Served, serveApi } from './served-api.ts';

const WHOAMI = '/api/v1/whoami';
const DAY_MS = 86_400_000;
const shared = fileCleanup();
let served: Served;

before(async () => {
  served = await serveApi(shared);
});

test('a certificate opens the API in its role, and its holder is known by name and serial', async () => {
  const { pair, serial } = await served.operator('operator', { name: 'bea' });
  const me = await served.call(WHOAMI, { pair });
  assert.deepEqual(
    [me.status, me.body.tokenId, me.body.name, me.body.role],
    [200, `cert:${serial}`, 'bea', 'operator'],
  );
  const refused = await served.call('/api/v1/api-tokens', { pair });
  assert.deepEqual([refused.status, refused.body.code], [403, 'FORBIDDEN']);
  assert.equal((await served.upgrade({}, pair)).status, 101);
});

test('a token beside a certificate decides alone, also if it is wrong', async () => {
  const { pair } = await served.operator();
  assert.equal((await served.call(WHOAMI, { pair, token: served.token })).body.name, 'root');
  assert.equal((await served.call(WHOAMI, { pair, token: 'wrong' })).status, 401);
});

test('a certificate that opens nothing is refused by name on guarded routes, and in nobody’s way on public ones', async () => {
  const { authority } = served;
  const installationId = randomUUID();
  const stranger = openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  const cases: [Pair, RegExp][] = [
    [await issued(authority.ca, authority.installationId, 'agent'), /agent's/],
    [await issued(authority.ca, authority.installationId, 'operator'), /not on the list/],
    [await issued(authority.ca, installationId, 'operator'), /no operator of this installation/],
    [await issued(stranger, authority.installationId, 'operator'), /not one of this installation's CA/],
  ];
  const { keyPem, certPem } = await authority.ca.issueServer({ publicHosts: ['x'], clock: systemClock });
  cases.push([{ key: keyPem, cert: certPem }, /not for clients|installation's CA/]);
  for (const [pair, why] of cases) {
    const refused = await served.call(WHOAMI, { pair });
    assert.deepEqual([refused.status, refused.body.code], [401, 'UNAUTHORIZED']);
    assert.match(refused.body.detail, why);
    assert.equal((await served.call('/healthz', { pair })).status, 200);
    assert.equal((await served.upgrade({}, pair)).status, 401);
    assert.equal((await served.call(WHOAMI, { pair, token: served.token })).status, 200);
  }
  assert.equal((await served.call(WHOAMI)).status, 401);
});

test('a certificate by a stolen CA key under the serial of one that counts opens nothing', async () => {
  const { authority } = served;
  const { serial, operatorId, pair } = await served.operator('admin');
  const { root, sealedKey } = authority.state.record.current;
  const { key: keyPem } = await newKey();
  const cert = await forgedCertificate(
    { certPem: root, keyPem: await authority.seal.unseal(sealedKey) },
    {
      ...{ serial, keyPem, kind: 'operator', id: operatorId },
      ...{ installationId: authority.installationId, notAfter: Date.now() + DAY_MS },
    },
  );
  const refused = await served.call(WHOAMI, { pair: { key: keyPem, cert } });
  assert.deepEqual([refused.status, refused.body.code], [401, 'UNAUTHORIZED']);
  assert.equal((await served.call(WHOAMI, { pair })).status, 200);
});

test('revocation ends streams within a second, and requests on connections that are open already', async (t) => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const { pair, serial } = await served.operator('viewer');
  const other = await served.operator('viewer');
  assert.equal((await served.call(WHOAMI, { pair, agent })).status, 200);
  const log = await served.follow({ pair });
  const untouched = await served.follow({ pair: other.pair });
  const path = `/api/v1/operator-certificates/${serial.match(/../g)?.join(':')}`;
  assert.equal((await served.call(path, { method: 'DELETE', token: served.token })).status, 204);
  assert.equal(await within(1_000, 'the end of the log', log.ended), 'ECONNRESET');
  const refused = await served.call(WHOAMI, { pair, agent });
  assert.equal(refused.status, 401);
  assert.match(refused.body.detail, /revoked/);
  assert.equal(await Promise.race([untouched.ended, Promise.resolve('open')]), 'open');
  const rows = (await served.auditRows()).filter(({ target }) => target === serial);
  assert.deepEqual(rows.map(({ action }) => action).sort(), [
    'operator-certificate.create',
    'operator-certificate.revoke',
  ]);
  const gone = await served.call('/api/v1/operator-certificates/ABCD', { method: 'DELETE', token: served.token });
  assert.equal(gone.status, 404);
});

test('what a certificate has opened ends when it expires, on an open connection as well', async (t) => {
  const mine = await serveApi(t);
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const { pair } = await mine.operator('viewer', { ttlSeconds: 3600 });
  assert.equal((await mine.call(WHOAMI, { pair, agent })).status, 200);
  const log = await mine.follow({ pair });
  mine.clock.advance(3600_000);
  assert.equal(await within(1_000, 'the end of the log', log.ended), 'ECONNRESET');
  const refused = await mine.call(WHOAMI, { pair, agent });
  assert.equal(refused.status, 401);
  assert.match(refused.body.detail, /expired/);
  const listed = await mine.call('/api/v1/operator-certificates', { token: mine.token });
  assert.equal(listed.body.items[0].state, 'expired');
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`no session is resumed, so that each connection proves its key anew (${version})`, async () => {
    const { pair } = await served.operator('viewer');
    const options = { port: served.port, host: '127.0.0.1', ca: served.ca, ...pair };
    const connect = async (
      session?: Buffer,
    ): Promise<{ reused: boolean; session: Buffer | undefined; code: string }> => {
      const socket = tls.connect({ ...options, minVersion: version, maxVersion: version, ...(session && { session }) });
      let got: Buffer | undefined;
      socket.on('session', (one) => {
        got = one;
      });
      const code = await new Promise<string>((resolve, reject) => {
        socket.once('error', reject);
        socket.once('data', (data) => resolve(String(data).slice(9, 12)));
        socket.once('secureConnect', () => socket.write(`GET ${WHOAMI} HTTP/1.1\r\nHost: localhost\r\n\r\n`));
      });
      const found = { reused: socket.isSessionReused(), session: got ?? socket.getSession(), code };
      socket.destroy();
      return found;
    };
    const first = await connect();
    assert.deepEqual([first.code, first.reused], ['200', false]);
    const again = await connect(first.session);
    assert.deepEqual([again.code, again.reused], ['200', false]);
  });
}

test('a page of another origin cannot use the certificate that a browser adds', async () => {
  const { pair } = await served.operator('admin');
  const body = { name: 'x', role: 'viewer' };
  const post = (origin: string) =>
    served.call('/api/v1/api-tokens', { method: 'POST', body, pair, headers: { origin } });
  const refused = await post('https://evil.example');
  assert.deepEqual([refused.status, refused.body.code], [403, 'FORBIDDEN']);
  assert.equal((await post('null')).status, 403);
  assert.equal((await post(served.url)).status, 201);
  assert.equal((await served.upgrade({ origin: 'https://evil.example' }, pair)).status, 403);
  assert.equal((await served.upgrade({ origin: served.url }, pair)).status, 101);
});

test('a page of another origin cannot ask anything by what a browser adds, a link can be followed', async () => {
  const { pair } = await served.operator('admin');
  const get = async (headers: Record<string, string>) => {
    return (await served.call('/api/v1/hosts', { pair, headers })).status;
  };
  const fetched = { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' };
  for (const site of ['cross-site', 'same-site', 'whatever']) {
    assert.equal(await get({ 'sec-fetch-site': site, ...fetched }), 403, site);
    assert.equal(await get({ 'sec-fetch-site': site, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }), 403);
    assert.equal(
      await get({ 'sec-fetch-site': site, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }),
      200,
    );
  }
  assert.equal(await get({ 'sec-fetch-site': 'same-origin', ...fetched }), 200);
  assert.equal(await get({ 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' }), 200);
  const form = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  const body = { name: 'x', role: 'viewer' };
  const post = await served.call('/api/v1/api-tokens', { method: 'POST', body, pair, headers: form });
  assert.equal(post.status, 403, 'a form is no link');
});

test('certificates are issued for new keys alone, for a minute to a year, and listed with their limits', async () => {
  const path = '/api/v1/operator-certificates';
  const { csr } = await newKey();
  await served.store.hosts.insert(aHost(HOST_IDS[0], 'edge-1'));
  const body = { csr, name: 'ops', role: 'operator', hosts: ['edge-1'], tags: ['eu'], ttlSeconds: 60 };
  const post = (change: object) =>
    served.call(path, { method: 'POST', body: { ...body, ...change }, token: served.token });
  for (const ttlSeconds of [0, 59, 365 * 86_400 + 1, 1.5]) assert.equal((await post({ ttlSeconds })).status, 400);
  assert.equal((await post({ csr: 'nonsense' })).body.code, 'CSR_INVALID');
  assert.equal((await post({ hosts: ['../x'] })).status, 400);
  assert.equal((await post({ hosts: ['nobody'] })).body.code, 'HOST_NOT_FOUND');
  const made = await post({});
  assert.equal(made.status, 201, made.text);
  assert.equal(Date.parse(made.body.notAfter) - Math.floor(served.clock.now() / 1000) * 1000, 60_000);
  assert.equal((await post({})).body.code, 'CSR_INVALID');
  const { items } = (await served.call(path, { token: served.token })).body;
  const row = items.find((one: { serial: string }) => one.serial === made.body.serial);
  assert.deepEqual([row.hosts, row.tags, row.state, row.id], [[HOST_IDS[0]], ['eu'], 'active', made.body.id]);
  const principal = await served.store.operatorCertificates.find(made.body.serial);
  assert.deepEqual(principal?.hosts, [HOST_IDS[0]]);
  const { pair } = await served.operator('viewer');
  assert.equal((await served.call(path, { pair })).status, 403);
});

test('a renewed server leaf still asks for certificates', async (t) => {
  const mine = await serveApi(t);
  const { pair } = await mine.operator('viewer', { ttlSeconds: 365 * 86_400 });
  const leafOf = () =>
    new Promise<string>((resolve, reject) => {
      const socket = tls.connect({ port: mine.port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
      socket.once('error', reject);
    });
  const before = await leafOf();
  mine.clock.advance(61 * DAY_MS);
  await waitFor('another leaf', async () => (await leafOf()) !== before);
  // The new leaf is of the clock's future.
  const agent = new https.Agent({ rejectUnauthorized: false, ...pair });
  const request = https.get(`${mine.url}${WHOAMI}`, { agent });
  const status = await new Promise((resolve) => request.once('response', (answer) => resolve(answer.statusCode)));
  agent.destroy();
  assert.equal(status, 200);
});

test('a grant is judged field by field, and gives a scope only if it is limited', () => {
  const grant = { name: 'x', role: 'viewer' as const };
  checkGrant(grant);
  assert.deepEqual(scopeOf({ hosts: ['edge-1'], tags: [] }), { scope: { hosts: ['edge-1'], tags: [] } });
  assert.deepEqual(scopeOf({ hosts: [], tags: [] }), {});
  for (const wrong of [{ name: ' ' }, { name: 'a\nb' }, { role: 'root' as 'admin' }]) {
    const [field = ''] = Object.keys(wrong);
    assert.throws(() => checkGrant({ ...grant, ...wrong }), { code: 'VALIDATION', message: new RegExp(`^${field} `) });
  }
});
