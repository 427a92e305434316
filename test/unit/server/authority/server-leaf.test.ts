import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import * as tls from 'node:tls';
import { INTERNAL_SERVER_NAME } from '../../../../certs/names.ts';
import { ServerLeaf } from '../../../../server/authority/server-leaf.ts';
import { testAuthority } from './fixtures.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

function leafOf({ cert }: { cert: string }): X509Certificate {
  return new X509Certificate(cert);
}

test('every start has a new leaf, with the public hosts of that start', async (t) => {
  const { open } = await testAuthority(t);
  const first = leafOf((await open()).serverTls());
  const second = leafOf((await open({ publicHosts: ['mesh.example.org'] })).serverTls());
  assert.match(first.subjectAltName ?? '', /DNS:localhost, IP Address:127\.0\.0\.1$/);
  assert.match(second.subjectAltName ?? '', /^DNS:server\.fairlead\.internal, DNS:mesh\.example\.org$/);
  assert.notEqual(second.serialNumber, first.serialNumber);
  assert.notDeepEqual(second.publicKey, first.publicKey);
});

test('the leaf is renewed at two thirds of its life, and so is the next', async (t) => {
  const { open, clock } = await testAuthority(t);
  const authority = await open();
  const renewed: tls.SecureContextOptions[] = [];
  authority.onServerTls((pair) => renewed.push(pair));
  const first = authority.serverTls();
  await clock.advance(60 * DAY_MS - 5 * MINUTE_MS);
  assert.deepEqual(authority.serverTls(), first);
  await clock.advance(2 * HOUR_MS);
  const second = authority.serverTls();
  assert.deepEqual(renewed, [second]);
  assert.notEqual(second.cert, first.cert);
  assert.notEqual(second.key, first.key);
  assert.ok(leafOf(second).validToDate.getTime() > clock.now() + 89 * DAY_MS);
  await clock.advance(60 * DAY_MS + HOUR_MS);
  assert.equal(renewed.length, 2);
});

test('a listener that fails or has left does not keep the others from the new leaf', async (t) => {
  const { open, clock, logged } = await testAuthority(t);
  const authority = await open();
  const seen: string[] = [];
  authority.onServerTls(() => {
    throw new Error('a listener that fails');
  });
  authority.onServerTls(() => seen.push('left'))();
  authority.onServerTls(() => seen.push('stayed'));
  await clock.advance(61 * DAY_MS);
  assert.deepEqual(seen, ['stayed']);
  assert.ok(logged.some((line) => line.includes('a listener that fails')));
});

test('a renewal that fails is tried again, and the old leaf stays until then', async (t) => {
  const { open, options, clock, logged } = await testAuthority(t);
  const authority = await open();
  authority.close();
  const { ca } = authority;
  let failing = false;
  const issueServer: typeof ca.issueServer = (request) =>
    failing ? Promise.reject(new Error('no entropy')) : ca.issueServer(request);
  const stubborn = { ...ca, issueServer };
  const leaf = await ServerLeaf.issue({ ...options, clock, ca: () => stubborn });
  t.after(() => leaf.close());
  const first = leaf.tls();
  failing = true;
  await clock.advance(60 * DAY_MS + HOUR_MS);
  assert.deepEqual(leaf.tls(), first);
  const failures = logged.filter((line) => line.includes('no entropy')).length;
  assert.ok(failures > 10 && failures < 100, `${failures} tries`);
  failing = false;
  await clock.advance(2 * MINUTE_MS);
  assert.notDeepEqual(leaf.tls(), first);
});

test('a clock that was wrong at the start does not leave a leaf that nobody accepts', async (t) => {
  const { open, clock } = await testAuthority(t);
  const authority = await open();
  const right = clock.now();
  const first = authority.serverTls();
  clock.set(right - DAY_MS);
  await clock.advance(HOUR_MS);
  const second = authority.serverTls();
  assert.notDeepEqual(second, first);
  assert.ok(leafOf(second).validFromDate.getTime() <= right - DAY_MS + HOUR_MS);
  clock.set(right + 70 * DAY_MS);
  await clock.advance(HOUR_MS);
  assert.ok(leafOf(authority.serverTls()).validToDate.getTime() > right + 150 * DAY_MS);
});

test('a leaf that ends with the CA is not renewed over and over', async (t) => {
  const { open, clock } = await testAuthority(t);
  const { ca } = await open();
  clock.set(ca.notAfter.getTime() - 30 * DAY_MS);
  const authority = await open();
  const only = authority.serverTls();
  assert.deepEqual(leafOf(only).validToDate, ca.notAfter);
  await clock.advance(29 * DAY_MS);
  assert.deepEqual(authority.serverTls(), only);
});

test('a closed authority has no timer and tells nobody anything', async (t) => {
  const { open, clock } = await testAuthority(t);
  const authority = await open();
  authority.onServerTls(() => assert.fail('it was closed'));
  authority.close();
  authority.close();
  assert.equal(clock.pending, 0);
  await clock.advance(100 * DAY_MS);
});

test('a running listener takes the new leaf, and connections that stand go on', async (t) => {
  const { open, clock } = await testAuthority(t);
  const authority = await open();
  const listener = tls.createServer(authority.serverTls(), (socket) =>
    socket.on('error', () => socket.destroy()).pipe(socket),
  );
  authority.onServerTls((pair) => listener.setSecureContext(pair));
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  // The clock of the test is ahead of TLS's own, which is the machine's.
  const trust = { ca: authority.caPem, servername: INTERNAL_SERVER_NAME, rejectUnauthorized: false };
  const dial = async () => {
    const socket = tls.connect({ port, host: '127.0.0.1', ...trust });
    t.after(() => socket.destroy());
    await once(socket, 'secureConnect');
    return { socket, serial: socket.getPeerX509Certificate()?.serialNumber };
  };
  const old = await dial();
  assert.equal(old.serial, leafOf(authority.serverTls()).serialNumber);
  await clock.advance(61 * DAY_MS);
  const fresh = await dial();
  assert.notEqual(fresh.serial, old.serial);
  assert.equal(fresh.serial, leafOf(authority.serverTls()).serialNumber);
  old.socket.write('still here');
  const [echo] = await once(old.socket, 'data');
  assert.equal(String(echo), 'still here');
});
