/** What a connected host gets, and what becomes of the certificates before and of their copies. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { before, type TestContext, test } from 'node:test';
import { createCsr } from '../../../../certs/csr.ts';
import {
  ADMIN,
  enrollHost,
  type Installation,
  newInstallation,
  newKeyPem,
  type ServerOptions,
  startServer,
} from '../../../support/renewal.ts';
import { fileCleanup, tempDir } from '../../../support/tmp.ts';

const ADDRESS = '198.51.100.7';
const shared = fileCleanup();
let installation: Installation;

before(async () => {
  installation = await newInstallation(shared);
});

async function setUp(t: TestContext, options: ServerOptions = {}) {
  const own = { ...installation, dataDir: `${await tempDir(t)}/data`, port: 0 };
  const server = await startServer(t, own, options);
  const host = await enrollHost(t, own, server);
  const identity = {
    hostId: host.hostId,
    serial: host.serial,
    notAfter: Number.MAX_SAFE_INTEGER,
    issuerKey: '',
    spkiPin: '',
  };
  return { own, server, host, identity, ...server.admission, certificates: server.store.certificates };
}

const newCsr = async (keyPem = newKeyPem()) => await createCsr(createPrivateKey(keyPem));

test('a renewed certificate is pending until it is used; then the one before is superseded', async (t) => {
  const { server, host, identity, renew, use, certificates } = await setUp(t);
  const keyPem = newKeyPem();
  const issued = await renew(identity, await newCsr(keyPem), ADDRESS);
  assert.equal((await certificates.find(issued.serial))?.state, 'pending');
  assert.ok(server.active.has(issued.serial) && server.active.has(host.serial), 'either opens a session');
  assert.equal((await server.hosts.get(host.hostId)).certificate?.serial, host.serial);
  assert.deepEqual(await renew(identity, await newCsr(keyPem), ADDRESS), issued, 'the same key, the same certificate');
  await use(identity, ADDRESS);
  assert.ok(server.active.has(host.serial), 'using the old one changes nothing');
  const next = { ...identity, serial: issued.serial };
  await Promise.all([use(next, ADDRESS), use(next, ADDRESS)]);
  assert.equal((await certificates.find(issued.serial))?.state, 'active');
  assert.equal((await certificates.find(host.serial))?.state, 'superseded');
  assert.ok(!server.active.has(host.serial));
  assert.equal((await server.hosts.get(host.hostId)).certificate?.serial, issued.serial);
  assert.deepEqual(await renew(next, await newCsr(keyPem), ADDRESS), issued, 'also after it was used');
  await assert.rejects(renew(identity, await newCsr(), ADDRESS), { code: 'CONFLICT' });
  const actions = (await server.audit.list({})).items.map(({ action }) => action).reverse();
  assert.deepEqual(actions, ['certificate.renew', 'certificate.activate']);
});

test('of several pending certificates the last one stands', async (t) => {
  const { server, identity, renew, certificates } = await setUp(t);
  const first = await renew(identity, await newCsr(), ADDRESS);
  const second = await renew(identity, await newCsr(), ADDRESS);
  const row = await certificates.find(first.serial);
  assert.deepEqual([row?.state, row?.reason], ['revoked', 'never used: a newer one was issued']);
  assert.ok(!server.active.has(first.serial) && server.active.has(second.serial));
  const keyPem = newKeyPem();
  const csrs = await Promise.all(Array.from({ length: 5 }, () => newCsr(keyPem)));
  const same = await Promise.all(csrs.map((csr) => renew(identity, csr, ADDRESS)));
  assert.equal(new Set(same.map(({ serial }) => serial)).size, 1, 'one key asked with at once gets one certificate');
});

test('a key is used once, by one host, and is neither the CA’s nor the server’s', async (t) => {
  const { own, server, identity, renew } = await setUp(t);
  const other = await enrollHost(t, own, server, { name: 'beta' });
  const keyPem = newKeyPem();
  await renew({ ...identity, hostId: other.hostId, serial: other.serial }, await newCsr(keyPem), ADDRESS);
  for (const key of [keyPem, own.leaf.key, own.ca.material.keyPem]) {
    await assert.rejects(renew(identity, await newCsr(key), ADDRESS), { code: 'CSR_INVALID' });
  }
  await assert.rejects(renew(identity, 'no request', ADDRESS), { code: 'CSR_INVALID' });
});

test('a host that asks without end is held back', async (t) => {
  const { identity, renew } = await setUp(t);
  const asked = await Promise.allSettled(Array.from({ length: 20 }, () => renew(identity, 'no request', ADDRESS)));
  const codes = asked.map((one) => (one.status === 'rejected' ? one.reason.code : 'issued'));
  assert.ok(codes.filter((code) => code === 'RATE_LIMITED').length >= 9, codes.join());
});

test('revoking a host, or its only used certificate, ends what it has not used yet', async (t) => {
  for (const revoke of ['host', 'serial'] as const) {
    const { server, host, identity, renew, use, refusal } = await setUp(t);
    const { serial } = await renew(identity, await newCsr(), ADDRESS);
    if (revoke === 'host') await server.hosts.revoke(host.hostId, 'sold', ADMIN);
    else await server.hosts.revokeSerial(host.serial, 'sold', ADMIN);
    assert.ok(!server.active.has(serial) && !server.active.has(host.serial));
    await use({ ...identity, serial }, ADDRESS);
    assert.equal((await refusal(serial, ADDRESS)).code, 'CERT_REVOKED');
    await assert.rejects(renew(identity, await newCsr(), ADDRESS), { code: 'CERT_REVOKED' });
  }
});

test('a superseded certificate that returns puts its host into quarantine, for a restart too, until it is released', async (t) => {
  const { own, server, host, identity, renew, use, refusal } = await setUp(t);
  const { serial } = await renew(identity, await newCsr(), ADDRESS);
  await use({ ...identity, serial }, ADDRESS);
  const refusals = await Promise.all([refusal(host.serial, ADDRESS), refusal(host.serial, ADDRESS)]);
  for (const { code, message } of refusals) {
    assert.equal(code, 'QUARANTINED');
    assert.match(message, new RegExp(`${host.serial} came back from ${ADDRESS}.*snapshot.*release or revoke`));
  }
  assert.ok(!server.active.has(serial));
  assert.equal((await refusal(serial, ADDRESS)).code, 'QUARANTINED');
  await assert.rejects(renew({ ...identity, serial }, await newCsr(), ADDRESS), { code: 'QUARANTINED' });
  const view = await server.hosts.get(host.hostId);
  assert.match(view.quarantine?.reason ?? '', /came back/);
  await assert.rejects(server.hosts.link(host.hostId), { code: 'HOST_OFFLINE', message: /quarantine/ });
  assert.equal((await server.audit.list({}, { action: 'host.quarantine' })).items.length, 1, 'reported once');

  await server.kill();
  const back = await startServer(t, own);
  assert.ok(!back.active.has(serial));
  await back.services.quarantine.release('alpha', ADMIN);
  assert.ok(back.active.has(serial));
  assert.equal((await back.hosts.get(host.hostId)).quarantine, undefined);
  await assert.rejects(back.services.quarantine.release('alpha', ADMIN), { code: 'CONFLICT' });
  assert.equal(
    (await back.admission.refusal(host.serial, ADDRESS)).code,
    'CERT_REVOKED',
    'the copy stays out by itself',
  );
  assert.ok(back.active.has(serial));
});

test('a revoked host is not released, and an unknown certificate is no clone', async (t) => {
  const { server, host, identity, renew, use, refusal } = await setUp(t);
  assert.equal((await refusal('ABCD', ADDRESS)).code, 'CERT_UNKNOWN');
  const { serial } = await renew(identity, await newCsr(), ADDRESS);
  await use({ ...identity, serial }, ADDRESS);
  await refusal(host.serial, ADDRESS);
  await server.hosts.revoke('alpha', 'sold', ADMIN);
  await assert.rejects(server.services.quarantine.release('alpha', ADMIN), { code: 'CONFLICT', message: /revoked/ });
  assert.equal((await refusal(host.serial, ADDRESS)).code, 'CERT_REVOKED');
});
