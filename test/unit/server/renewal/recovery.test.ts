/** Recovery: who proves a host's last key may ask, and gets a certificate once policy or an administrator says so. */
import assert from 'node:assert/strict';
import { createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import { before, type TestContext, test } from 'node:test';
import { loadIdentity } from '../../../../agent/identity/state-dir.ts';
import { createOfflineRoot, openCa } from '../../../../certs/authority.ts';
import { createCsr } from '../../../../certs/csr.ts';
import { createCaRequest, readCaRequest } from '../../../../certs/intermediate.ts';
import { proveRecovery } from '../../../../certs/recovery-proof.ts';
import { RefusedRequest } from '../../../../server/audit/refused-request.ts';
import type { ErrorCode } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { forgedCertificate } from '../../../support/forged.ts';
import {
  ADMIN,
  enrollHost,
  type Installation,
  newInstallation,
  newKeyPem,
  type ServerOptions,
  startServer,
  type TestServer,
} from '../../../support/renewal.ts';
import { fileCleanup, tempDir } from '../../../support/tmp.ts';
import { rsa, testCa } from '../../certs/fixtures.ts';

const LIFE_MS = 60_000;
const ADDRESS = '198.51.100.7';
const shared = fileCleanup();
let installation: Installation;

before(async () => {
  installation = await newInstallation(shared);
});

async function setUp(t: TestContext, options: ServerOptions = {}) {
  const clock = new FakeClock(Date.now());
  const own = { ...installation, dataDir: `${await tempDir(t)}/data`, port: 0 };
  const server = await startServer(t, own, { clock, lifeMs: LIFE_MS, ...options });
  const host = await enrollHost(t, own, server, { clock, lifeMs: LIFE_MS });
  return { clock, own, server, host, recovery: server.services.recovery };
}

/** What the host in `stateDir` sends, for the key in `keyPem`. */
async function claim(stateDir: string, keyPem = newKeyPem()) {
  const { certificate, keyPem: last } = await loadIdentity(stateDir);
  const csr = await createCsr(createPrivateKey(keyPem));
  const proof = await proveRecovery(certificate, csr, createPrivateKey(last));
  return { certificate: certificate.toString(), csr, proof };
}

async function actionsOf({ audit }: TestServer): Promise<string[]> {
  return (await audit.list({})).items.map(({ action, result }) => `${action} ${result}`).reverse();
}

function refusedAs(code: ErrorCode, text: RegExp = /./) {
  return (error: unknown) => error instanceof RefusedRequest && error.code === code && text.test(error.message);
}

test('an expired host waits until somebody approves it, and gets a certificate for that very key', async (t) => {
  const { clock, server, host, recovery } = await setUp(t);
  await assert.rejects(recovery.request(await claim(host.stateDir), ADDRESS), { code: 'CONFLICT', message: /good/ });
  clock.advance(LIFE_MS + 1000);
  const keyPem = newKeyPem();
  const ask = async (key = keyPem) => await recovery.request(await claim(host.stateDir, key), ADDRESS);
  assert.equal(await ask(), undefined);
  assert.equal(await ask(), undefined, 'asked again it is the same request');
  const [row, ...more] = (await recovery.list({})).items;
  assert.ok(row);
  assert.deepEqual(more, []);
  assert.deepEqual([row.hostName, row.serial, row.state, row.address], ['alpha', host.serial, 'pending', ADDRESS]);
  assert.match(row.why, /expired on/);
  await recovery.approve(row.id, ADMIN);
  const issued = await ask();
  assert.ok(issued);
  assert.deepEqual(await ask(), issued, 'a lost answer is given again');
  assert.deepEqual((await recovery.list({})).items, []);
  const stored = await server.store.certificates.find(issued.serial);
  assert.deepEqual([stored?.hostId, stored?.state], [host.hostId, 'pending']);
  assert.ok(server.active.has(issued.serial));
  await server.admission.use({ hostId: host.hostId, issuerKey: '', spkiPin: '', ...issued }, ADDRESS);
  assert.equal((await server.store.certificates.find(host.serial))?.state, 'superseded');
  const written = await actionsOf(server);
  assert.deepEqual(written, [
    'recovery.request ok',
    'recovery.approve ok',
    'host.recover ok',
    'certificate.activate ok',
  ]);
});

test('an approval is for one key: another one takes the place of the request, and has to be approved itself', async (t) => {
  const { clock, host, recovery } = await setUp(t);
  clock.advance(LIFE_MS + 1000);
  await recovery.request(await claim(host.stateDir), ADDRESS);
  const [first] = (await recovery.list({})).items;
  await recovery.approve(first?.id ?? '', ADMIN);
  assert.equal(await recovery.request(await claim(host.stateDir), ADDRESS), undefined);
  const [second, ...more] = (await recovery.list({})).items;
  assert.deepEqual([second?.state, more.length], ['pending', 0]);
  assert.notEqual(second?.spkiPin, first?.spkiPin);
  await assert.rejects(recovery.approve(first?.id ?? '', ADMIN), { code: 'NOT_FOUND' });
  const asked = await Promise.allSettled(
    Array.from({ length: 10 }, async () => await recovery.request(await claim(host.stateDir), ADDRESS)),
  );
  const refused = asked.filter(({ status }) => status === 'rejected');
  assert.ok(refused.length >= 5, 'a flood of keys is held back');
});

test('an approval of another key in the very moment of issuing is none for this one', async (t) => {
  const { clock, server, host, recovery } = await setUp(t);
  clock.advance(LIFE_MS + 1000);
  const [mine, other] = [await claim(host.stateDir), await claim(host.stateDir)];
  const approve = async () => await recovery.approve((await recovery.list({})).items[0]?.id ?? '', ADMIN);
  await recovery.request(mine, ADDRESS);
  await approve();
  const { recoveries } = server.store;
  const { findOf } = recoveries;
  Object.assign(recoveries, {
    findOf: async (hostId: string) => {
      const row = await findOf(hostId);
      Object.assign(recoveries, { findOf });
      await recovery.request(other, ADDRESS);
      await approve();
      return row;
    },
  });
  await assert.rejects(recovery.request(mine, ADDRESS), { code: 'CONFLICT' });
  assert.ok(await recovery.request(other, ADDRESS));
});

test('a denial is told, whatever key asks, until the request expires or is approved after all', async (t) => {
  const { clock, host, recovery } = await setUp(t);
  clock.advance(LIFE_MS + 1000);
  const keyPem = newKeyPem();
  const ask = async (key = keyPem) => await recovery.request(await claim(host.stateDir, key), ADDRESS);
  await ask();
  const [row] = (await recovery.list({})).items;
  await recovery.deny(row?.id ?? '', ADMIN);
  await assert.rejects(ask(), refusedAs('RECOVERY_DENIED'));
  await assert.rejects(ask(newKeyPem()), refusedAs('RECOVERY_DENIED'));
  await recovery.approve(row?.id ?? '', ADMIN);
  assert.ok(await ask());
  await ask(newKeyPem()).catch(() => undefined);
  clock.setWallClock(clock.now() + 8 * 86_400_000);
  assert.deepEqual((await recovery.list({})).items, []);
});

test('a certificate by a stolen CA key under the serial of one that has expired is none, whatever policy says', async (t) => {
  const { clock, server, host, recovery } = await setUp(t, { recoverWithinMs: 3_600_000 });
  clock.advance(LIFE_MS + 1000);
  const { material, installationId } = installation.ca;
  const keyPem = newKeyPem();
  const names = { serial: host.serial, installationId, kind: 'agent' as const };
  const forge = async (id: string, key: string) =>
    await forgedCertificate(material, { ...names, id, keyPem: key, notAfter: clock.now() });
  const { keyPem: last } = await loadIdentity(host.stateDir);
  // With a key of one's own, and with the right key for another host.
  for (const [id, key] of [
    [host.hostId, keyPem],
    [randomUUID(), last],
  ] as const) {
    const certificate = await forge(id, key);
    const csr = await createCsr(createPrivateKey(newKeyPem()));
    const proof = await proveRecovery(new X509Certificate(certificate), csr, createPrivateKey(key));
    await assert.rejects(recovery.request({ certificate, csr, proof }, ADDRESS), refusedAs('CERT_UNKNOWN'));
  }
  await server.store.certificates.supersede(host.serial, 'superseded by another one');
  const certificate = await forge(host.hostId, keyPem);
  const csr = await createCsr(createPrivateKey(newKeyPem()));
  const proof = await proveRecovery(new X509Certificate(certificate), csr, createPrivateKey(keyPem));
  await assert.rejects(recovery.request({ certificate, csr, proof }, ADDRESS), refusedAs('CERT_UNKNOWN'));
  assert.equal((await server.store.hosts.get(host.hostId)).quarantinedAt, undefined);
});

test('a request that comes again after it was answered and used quarantines nobody', async (t) => {
  const { clock, server, host, recovery } = await setUp(t, { recoverWithinMs: 3_600_000 });
  clock.advance(LIFE_MS + 1000);
  const request = await claim(host.stateDir);
  const issued = await recovery.request(request, ADDRESS);
  assert.ok(issued);
  await server.admission.use({ hostId: host.hostId, issuerKey: '', spkiPin: '', ...issued }, ADDRESS);
  // By a proxy that tries twice, or somebody who has recorded it: it proves nothing new.
  await assert.rejects(recovery.request(request, ADDRESS), { code: 'CONFLICT' });
  assert.equal((await server.store.hosts.get(host.hostId)).quarantinedAt, undefined);
  assert.ok(server.active.has(issued.serial));
  // Another key is asked for by who has the superseded one today.
  await assert.rejects(recovery.request(await claim(host.stateDir), ADDRESS), refusedAs('QUARANTINED'));
});

test('policy lets in who expired a short while ago, and only those whose certificate is known', async (t) => {
  const { clock, server, host, recovery } = await setUp(t, { recoverWithinMs: 3_600_000 });
  clock.advance(LIFE_MS + 1000);
  const issued = await recovery.request(await claim(host.stateDir), ADDRESS);
  assert.ok(issued);
  clock.setWallClock(clock.now() + 2 * 3_600_000);
  assert.equal(await recovery.request(await claim(host.stateDir), ADDRESS), undefined, 'too long ago');
  clock.setWallClock(clock.now() - 2 * 3_600_000);
  // As after the store was restored from a backup.
  await server.store.db.deleteFrom('certificates').execute();
  assert.equal(await recovery.request(await claim(host.stateDir), ADDRESS), undefined, 'unknown');
  const [row] = (await recovery.list({})).items;
  assert.match(row?.why ?? '', /does not know the certificate/);
});

test('without a policy nobody is let in, not even in the moment of the expiry', async (t) => {
  const { clock, host, recovery } = await setUp(t);
  const { certificate } = await loadIdentity(host.stateDir);
  clock.setWallClock(certificate.validToDate.getTime());
  assert.equal(await recovery.request(await claim(host.stateDir), ADDRESS), undefined);
});

test('who proves nothing gets nothing', async (t) => {
  const { clock, server, own, host, recovery } = await setUp(t, { recoverWithinMs: 3_600_000 });
  clock.advance(LIFE_MS + 1000);
  const good = await claim(host.stateDir);
  const other = await claim(host.stateDir);
  const refused = async (change: Partial<typeof good>, code: ErrorCode) =>
    await assert.rejects(recovery.request({ ...good, ...change }, ADDRESS), refusedAs(code), JSON.stringify(change));
  await refused({ proof: other.proof }, 'CERT_UNKNOWN');
  await refused({ proof: 'AAAA' }, 'CERT_UNKNOWN');
  await refused({ csr: other.csr }, 'CERT_UNKNOWN');
  await refused({ certificate: 'no certificate' }, 'VALIDATION');
  await refused({ certificate: own.ca.ca.certPem }, 'CERT_UNKNOWN');
  await refused({ certificate: own.leaf.cert }, 'CERT_UNKNOWN');
  const { keyPem } = await loadIdentity(host.stateDir);
  await assert.rejects(recovery.request(await claim(host.stateDir, keyPem), ADDRESS), refusedAs('CSR_INVALID'));
  // Another CA's certificate that names this installation and this host.
  const foreign = { ...own, ca: { ...(await testCa()), installationId: own.ca.installationId } };
  const impostor = await enrollHost(t, foreign, server, { name: 'impostor', clock, lifeMs: LIFE_MS });
  clock.advance(LIFE_MS + 1000);
  await assert.rejects(recovery.request(await claim(impostor.stateDir), ADDRESS), refusedAs('CERT_UNKNOWN'));
});

test('hosts that are revoked, removed, unknown or in quarantine stay out', async (t) => {
  const { clock, server, own, host, recovery } = await setUp(t, { recoverWithinMs: 3_600_000 });
  const gone = await enrollHost(t, own, server, { name: 'gone', clock, lifeMs: LIFE_MS });
  const never = await enrollHost(t, own, server, { name: 'never', clock, lifeMs: LIFE_MS });
  const twice = await enrollHost(t, own, server, { name: 'twice', clock, lifeMs: LIFE_MS });
  clock.advance(LIFE_MS + 1000);
  await server.hosts.revoke(host.hostId, 'sold', ADMIN);
  await assert.rejects(recovery.request(await claim(host.stateDir), ADDRESS), refusedAs('CERT_REVOKED', /sold/));
  await server.hosts.remove(gone.hostId, ADMIN);
  await assert.rejects(recovery.request(await claim(gone.stateDir), ADDRESS), refusedAs('CERT_REVOKED'));
  await server.store.db.deleteFrom('certificates').where('host_id', '=', never.hostId).execute();
  await server.store.hosts.delete(never.hostId);
  await assert.rejects(recovery.request(await claim(never.stateDir), ADDRESS), refusedAs('HOST_NOT_FOUND'));

  const issued = await recovery.request(await claim(twice.stateDir), ADDRESS);
  assert.ok(issued);
  await server.admission.use({ hostId: twice.hostId, issuerKey: '', spkiPin: '', ...issued }, ADDRESS);
  await assert.rejects(recovery.request(await claim(twice.stateDir), ADDRESS), refusedAs('QUARANTINED', /came back/));
  assert.ok(!server.active.has(issued.serial), 'the copy takes its host along');
  assert.ok((await server.store.hosts.get(twice.hostId)).quarantinedAt);
});

test('a certificate that the store does not know stays out if the journal knows that it is revoked or superseded', async (t) => {
  const { clock, server, own, host, recovery } = await setUp(t);
  const renewed = await enrollHost(t, own, server, { name: 'renewed', clock, lifeMs: LIFE_MS });
  const next = { ...(await server.store.certificates.find(renewed.serial)), serial: 'BEEF', spkiPin: 'sha256:beef' };
  await server.store.certificates.insert(next as Parameters<typeof server.store.certificates.insert>[0], 'pending');
  await server.store.certificates.activate('BEEF', clock.now());
  await server.store.certificates.revoke(host.serial, clock.now(), 'stolen');
  // As after the store was restored from a backup, with the journal of after it.
  await server.store.db.deleteFrom('certificates').execute();
  clock.advance(LIFE_MS + 1000);
  await assert.rejects(recovery.request(await claim(host.stateDir), ADDRESS), refusedAs('CERT_REVOKED', /revoked/));
  await assert.rejects(
    recovery.request(await claim(renewed.stateDir), ADDRESS),
    refusedAs('CERT_REVOKED', /superseded/),
  );
  assert.deepEqual((await recovery.list({})).items, []);
});

test('a request of a host that was revoked since is gone, and cannot be approved', async (t) => {
  const { clock, server, host, recovery } = await setUp(t);
  clock.advance(LIFE_MS + 1000);
  await recovery.request(await claim(host.stateDir), ADDRESS);
  const [row] = (await recovery.list({})).items;
  await server.hosts.revoke(host.hostId, 'sold', ADMIN);
  await assert.rejects(recovery.approve(row?.id ?? '', ADMIN), { code: 'NOT_FOUND' });
  await assert.rejects(recovery.deny(randomUUID(), ADMIN), { code: 'NOT_FOUND' });
});

/** Two intermediates below an offline root, of which the first one ends in a day, and a host that was enrolled by it. */
async function belowOfflineRoot(t: TestContext) {
  const clock = new FakeClock(Date.now());
  const { installationId } = installation.ca;
  const material = await createOfflineRoot({ clock, bits: 2048 });
  const root = openCa(material);
  const intermediate = async (days: number) => {
    const { privateKey } = rsa();
    const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const csr = await createCaRequest(privateKey, installationId);
    const { certPem } = await root.issueIntermediate({ ...(await readCaRequest(csr)), days, clock });
    const own = { certPem, keyPem, rootPem: root.certPem };
    return { ca: openCa(own), material: own, installationId };
  };
  const [first, second] = [await intermediate(1), await intermediate(700)];
  const own: Installation = { ...installation, ca: second, dataDir: `${await tempDir(t)}/data`, port: 0 };
  const options = { clock, lifeMs: LIFE_MS, recoverWithinMs: 1 };
  // Who takes part in what the first one has issued is not trusted by itself any more: it has expired.
  const server = await startServer(t, own, { ...options, clientCaPem: root.certPem + second.ca.certPem });
  const host = await enrollHost(t, { ...own, ca: first }, server, { clock, lifeMs: LIFE_MS });
  return { clock, own, first, root, server, host, recovery: server.services.recovery };
}

test('a host comes back whose intermediate has expired as well, and is gone from what is trusted', async (t) => {
  const { clock, host, recovery } = await belowOfflineRoot(t);
  clock.setWallClock(clock.now() + 2 * 86_400_000);
  const keyPem = newKeyPem();
  assert.equal(await recovery.request(await claim(host.stateDir, keyPem), ADDRESS), undefined);
  const [row] = (await recovery.list({})).items;
  await recovery.approve(row?.id ?? '', ADMIN);
  assert.ok(await recovery.request(await claim(host.stateDir, keyPem), ADDRESS));
});

test('whoever has the key of an intermediate, or of a root, cannot make up a host by a serial that is known', async (t) => {
  const { clock, own, first, server, host, recovery } = await belowOfflineRoot(t);
  clock.setWallClock(clock.now() + 2 * 86_400_000);
  const { store } = server;
  for (const ca of [first, own.ca]) {
    const then = new FakeClock(clock.now() - 2 * 86_400_000 + 1000);
    const thief = await enrollHost(t, { ...own, ca }, server, { name: `thief-${ca.ca.keyPin.slice(-8)}`, clock: then });
    // As if the thief's certificate had the serial of the host's: the key is another one.
    await store.db.deleteFrom('certificates').where('serial', '=', thief.serial).execute();
    await store.db.updateTable('certificates').set({ serial: thief.serial }).execute();
    await assert.rejects(recovery.request(await claim(thief.stateDir), ADDRESS), refusedAs('CERT_UNKNOWN'));
    await store.db.updateTable('certificates').set({ serial: host.serial }).execute();
  }
  await store.db.deleteFrom('certificates').execute();
  await assert.rejects(recovery.request(await claim(host.stateDir), ADDRESS), refusedAs('CERT_UNKNOWN'));
});
