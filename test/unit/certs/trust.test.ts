import assert from 'node:assert/strict';
import { randomUUID, type X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type Ca, createCa, createOfflineRoot, openCa } from '../../../certs/authority.ts';
import { rootOf } from '../../../certs/chain.ts';
import { createCsr } from '../../../certs/csr.ts';
import { isEndorsement } from '../../../certs/endorsement.ts';
import { checkIntermediate, createCaRequest, readCaRequest } from '../../../certs/intermediate.ts';
import { certificateBlocks, readCertificate } from '../../../certs/pem.ts';
import { spkiOf } from '../../../certs/pin.ts';
import { isRoot, rootsIn, trustFrom } from '../../../certs/trust.ts';
import { systemClock } from '../../../shared/clock.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { tempDir } from '../../support/tmp.ts';
import { clockAt, DAY_MS, openssl, p256, rsa } from './fixtures.ts';

const NOW = Date.now();
const installationId = randomUUID();
let [a, b, c]: Ca[] = [];
let roots: { a: Ca; b: Ca; c: Ca };
let ab: string;
let bc: string;

before(async () => {
  const make = async () => openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  [a, b, c] = await Promise.all([make(), make(), make()]);
  if (a === undefined || b === undefined || c === undefined) throw new Error('no roots');
  roots = { a, b, c };
  ab = await endorse(a, b);
  bc = await endorse(b, c);
});

function endorse(by: Ca, root: Ca, days = 30, at = NOW): Promise<string> {
  return by.endorse({ root: readCertificate(root.rootPem), days, clock: clockAt(at) });
}

function trusted(bundle: readonly string[], by: Ca, now = NOW): string[] {
  return trustFrom(bundle.join(''), by.fingerprint, now).map(({ pin }) => pin);
}

const pins = (...cas: Ca[]) => cas.map(({ fingerprint }) => fingerprint);
const pem = ({ rootPem }: Ca) => rootPem;

test('a pin leads to its root, and by endorsements to others, in the order of the bundle', () => {
  const { a, b, c } = roots;
  assert.deepEqual(trusted([pem(a)], a), pins(a));
  assert.deepEqual(trusted([pem(b), pem(a), ab], a), pins(b, a));
  assert.deepEqual(trusted([pem(c), pem(b), pem(a), bc, ab], a), pins(c, b, a));
  assert.deepEqual(trusted([bc, ab, pem(a), pem(b), pem(c)], b), pins(b, c));
  assert.deepEqual(trustFrom(`${pem(a)}${pem(b)}`, pins(a, b), NOW).length, 2);
});

test('without its pin, without an endorsement, or with that of a stranger a root is not trusted', async () => {
  const { a, b, c } = roots;
  assert.deepEqual(trusted([pem(b), ab], a), []);
  assert.deepEqual(trusted([pem(a), pem(b)], a), pins(a));
  // Endorsements go one way, and only through roots that are there themselves.
  assert.deepEqual(trusted([pem(a), pem(b), ab], b), pins(b));
  assert.deepEqual(trusted([pem(a), pem(c), ab, bc], a), pins(a));
  assert.deepEqual(trusted([pem(a), pem(b), await endorse(c, b)], a), pins(a));
  assert.deepEqual(trusted([], a), []);
});

test('an endorsement counts for its time alone', async () => {
  const { a, b } = roots;
  const bundle = [pem(a), pem(b), await endorse(a, b, 10)];
  assert.deepEqual(trusted(bundle, a, NOW + 9 * DAY_MS), pins(a, b));
  assert.deepEqual(trusted(bundle, a, NOW + 10 * DAY_MS + 1), pins(a));
  assert.deepEqual(trusted(bundle, a, NOW - DAY_MS), pins(a));
});

test('nothing else that a root signed passes for an endorsement: no intermediate, no leaf', async () => {
  const offline = openCa(await createOfflineRoot({ clock: systemClock, bits: 2048 }));
  // Whoever steals an intermediate's key can make a root of it, and has the root's signature over that key.
  const stolen = await createCa({ installationId, clock: systemClock, bits: 2048 });
  const spki = spkiOf(readCertificate(stolen.certPem).publicKey);
  const signed = await offline.issueIntermediate({ spki, installationId, days: 30, clock: systemClock });
  assert.equal(isEndorsement(readCertificate(signed.certPem)), false);
  assert.deepEqual(trusted([pem(offline), stolen.certPem, signed.certPem], offline), pins(offline));
  const { certPem: leaf } = await roots.a.issueServer({ publicHosts: [], clock: systemClock });
  assert.deepEqual(trusted([pem(roots.a), leaf], roots.a), pins(roots.a));
});

test('an endorsement whose key, name or signature was changed is none', async () => {
  const { a, b } = roots;
  const der = Buffer.from(readCertificate(ab).raw);
  for (const at of [der.length - 1, der.length - 200, 200]) {
    const changed = Buffer.from(der);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const forged = `-----BEGIN CERTIFICATE-----\n${changed.toString('base64')}\n-----END CERTIFICATE-----\n`;
    assert.deepEqual(trusted([pem(a), pem(b), forged], a), pins(a), `byte ${at}`);
  }
});

test('garbage is passed over, and a bundle without end is refused', () => {
  const { a, b } = roots;
  const block = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  assert.deepEqual(trusted(['text', block, pem(a), '\r\n', pem(b), ab, '-----BEGIN'], a), pins(a, b));
  const refused = (error: unknown) => isFairleadError(error, 'VALIDATION');
  assert.throws(() => trusted(Array(17).fill(block), a), refused);
  assert.throws(() => trusted(['x'.repeat(65 * 1024)], a), refused);
  assert.throws(() => trustFrom(pem(a), 'sha256:00', NOW), refused);
  assert.throws(() => rootsIn(ab), refused);
  assert.equal(rootsIn(pem(a) + pem(a)).length, 1);
});

test('what is not self-signed by a key of ours is no root', async (t) => {
  const dir = await tempDir(t, 'trust');
  const self = join(dir, 'ec.pem');
  const args = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', join(dir, 'key')];
  assert.equal((await openssl('req', '-x509', ...args, '-subj', '/CN=x', '-out', self)).code, 0);
  assert.equal(isRoot(readCertificate(ab)), false);
  assert.equal(isRoot(readCertificate(pem(roots.a))), true);
});

test('openssl takes an endorsement for a certificate of the old root, and for no step in a chain', async (t) => {
  const dir = await tempDir(t, 'trust');
  const { b } = roots;
  const offline = openCa(await createOfflineRoot({ clock: systemClock, bits: 2048 }));
  const leaf = await b.issueServer({ publicHosts: [], clock: systemClock });
  const files = {
    root: pem(offline),
    endorsement: await endorse(offline, b),
    leaf: leaf.certPem,
  };
  const path = (name: string) => join(dir, `${name}.pem`);
  for (const [name, text] of Object.entries(files)) await writeFile(path(name), text);
  const strict = ['verify', '-x509_strict', '-CAfile', path('root')];
  assert.equal((await openssl(...strict, path('endorsement'))).code, 0);
  const chain = ['-untrusted', path('endorsement'), '-purpose', 'sslserver', path('leaf')];
  assert.notEqual((await openssl(...strict, ...chain)).code, 0);
});

test('an intermediate issues below its offline root, and openssl agrees', async (t) => {
  const dir = await tempDir(t, 'trust');
  const clock = systemClock;
  const root = openCa(await createOfflineRoot({ clock, bits: 2048 }));
  const { privateKey } = rsa();
  const { spki, installationId: named } = await readCaRequest(await createCaRequest(privateKey, installationId));
  assert.equal(named, installationId);
  const signed = await root.issueIntermediate({ spki, installationId, days: 60, clock });
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const ca = openCa({ certPem: signed.certPem, rootPem: root.certPem, keyPem });
  assert.equal(ca.fingerprint, root.fingerprint);
  assert.equal(ca.isIntermediate, true);
  checkIntermediate(readCertificate(root.certPem), readCertificate(signed.certPem), Date.now());

  const server = await ca.issueServer({ publicHosts: ['localhost'], clock });
  // No leaf outlives its issuer.
  assert.equal(server.notAfter.getTime(), signed.notAfter.getTime());
  const agent = await ca.issueAgent({ spki: spkiOf(p256().publicKey), hostId: randomUUID(), installationId, clock });
  const [leaf = '', intermediate = '', ...rest] = certificateBlocks(agent.certPem);
  assert.deepEqual(rest, []);
  assert.equal(rootOf(agent.certPem, rootsIn(root.certPem), Date.now())?.pin, root.fingerprint);
  assert.equal(rootOf(leaf, rootsIn(root.certPem), Date.now()), undefined);
  assert.equal(rootOf(agent.certPem, rootsIn(root.certPem), Date.now() + 61 * DAY_MS), undefined);
  assert.equal(rootOf(agent.certPem, rootsIn(pem(roots.a)), Date.now()), undefined);

  const path = (name: string) => join(dir, `${name}.pem`);
  await writeFile(path('root'), root.certPem);
  await writeFile(path('intermediate'), intermediate);
  await writeFile(path('agent'), leaf);
  await writeFile(path('server'), server.certPem);
  const strict = ['verify', '-x509_strict', '-CAfile', path('root')];
  assert.equal((await openssl(...strict, path('root'))).code, 0);
  assert.equal((await openssl(...strict, path('intermediate'))).code, 0);
  const by = [...strict, '-untrusted', path('intermediate')];
  assert.equal((await openssl(...by, '-purpose', 'sslclient', path('agent'))).code, 0);
  assert.equal((await openssl(...by, '-purpose', 'sslserver', path('server'))).code, 0);
  assert.equal((await openssl(...strict, '-purpose', 'sslserver', path('server'))).code, 2);
  const text = (await openssl('x509', '-in', path('intermediate'), '-noout', '-text')).text;
  assert.match(text, /CA:TRUE, pathlen:0/);
  assert.match((await openssl('x509', '-in', path('root'), '-noout', '-text')).text, /CA:TRUE, pathlen:1/);
});

test('only the right thing is an intermediate', async () => {
  const clock = systemClock;
  const root = openCa(await createOfflineRoot({ clock, bits: 2048 }));
  const spki = spkiOf(rsa().publicKey);
  const { certPem } = await root.issueIntermediate({ spki, installationId, days: 10, clock });
  const [rootX, x] = [readCertificate(root.certPem), readCertificate(certPem)];
  const check =
    (by: X509Certificate, one: X509Certificate, now = NOW) =>
    () =>
      checkIntermediate(by, one, now);
  assert.throws(check(readCertificate(pem(roots.a)), x), /allows no CA below it/);
  const other = openCa(await createOfflineRoot({ clock, bits: 2048 }));
  assert.throws(check(readCertificate(other.certPem), x), /not signed by the root beside it/);
  assert.throws(check(rootX, x, NOW + 11 * DAY_MS), /the intermediate expired on /);
  assert.throws(check(rootX, x, NOW - DAY_MS), /is valid only from /);
  assert.throws(check(rootX, readCertificate(await endorse(root, roots.b))), /issues leaves alone/);
  assert.throws(check(rootX, rootX), /pathlen 0/);
  await assert.rejects(roots.a.issueIntermediate({ spki, installationId, days: 1, clock }), /no offline root/);
});

test("a request that is not a server's is not signed", async () => {
  const refused = (error: unknown) => isFairleadError(error, 'CSR_INVALID');
  await assert.rejects(readCaRequest(await createCsr(rsa().privateKey)), refused);
  await assert.rejects(readCaRequest(await createCaRequest(p256().privateKey, installationId)), refused);
  await assert.rejects(readCaRequest(await createCaRequest(rsa().privateKey, 'not-a-uuid')), refused);
  await assert.rejects(readCaRequest('nonsense'), refused);
});
