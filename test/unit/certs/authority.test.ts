import assert from 'node:assert/strict';
import { randomUUID, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { createCa, openCa } from '../../../certs/authority.ts';
import { readCsr } from '../../../certs/csr.ts';
import { spkiOf, spkiPin } from '../../../certs/pin.ts';
import { normalizeSerial } from '../../../certs/serial.ts';
import { systemClock } from '../../../shared/clock.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { tempDir } from '../../support/tmp.ts';
import { clockAt, DAY_MS, openssl, p256, rsa, rsaSpki, type TestCa, testCa } from './fixtures.ts';

const MINUTE_MS = 60_000;
const NOW = Date.UTC(2030, 0, 1, 12, 0, 0, 789);
const WHOLE = NOW - 789;
const hostId = randomUUID();

let one: TestCa;
before(async () => {
  one = await testCa();
});

function issueAgent(to: TestCa, spki = spkiOf(p256().publicKey), clock = systemClock) {
  return to.ca.issueAgent({ spki, hostId, installationId: to.installationId, clock });
}

/** openssl's own view of a certificate's extensions, and whether it accepts it. */
async function inspect(dir: string, certPem: string): Promise<string> {
  const file = join(dir, 'inspected.pem');
  await writeFile(file, certPem);
  return (await openssl('x509', '-in', file, '-noout', '-text', '-nameopt', 'RFC2253')).text;
}

async function verifies(dir: string, certPem: string, purpose: string): Promise<boolean> {
  await writeFile(join(dir, 'ca.pem'), one.ca.certPem);
  await writeFile(join(dir, 'leaf.pem'), certPem);
  const args = ['-x509_strict', '-purpose', purpose, '-CAfile', join(dir, 'ca.pem'), join(dir, 'leaf.pem')];
  return (await openssl('verify', ...args)).code === 0;
}

test('openssl accepts each certificate for its purpose and refuses it for the other', async (t) => {
  const dir = await tempDir(t, 'certs');
  const server = await one.ca.issueServer({ publicHosts: ['localhost', '::1'], clock: systemClock });
  for (const { publicKey } of [p256(), rsa(2048), rsa(3072)]) {
    const agent = await issueAgent(one, spkiOf(publicKey));
    assert.equal(await verifies(dir, agent.certPem, 'sslclient'), true);
    assert.equal(await verifies(dir, agent.certPem, 'sslserver'), false);
  }
  assert.equal(await verifies(dir, server.certPem, 'sslserver'), true);
  assert.equal(await verifies(dir, server.certPem, 'sslclient'), false);
  assert.equal(await verifies(dir, one.ca.certPem, 'any'), true);
});

test('a certificate of another CA is refused, even of one with the same name', async (t) => {
  const dir = await tempDir(t, 'certs');
  const twin = openCa(await createCa({ installationId: one.installationId, clock: systemClock, bits: 2048 }));
  const forged = await twin.issueServer({ publicHosts: [], clock: systemClock });
  assert.equal(twin.subject, one.ca.subject);
  assert.equal(await verifies(dir, forged.certPem, 'sslserver'), false);
});

test('the CA is one for 10 years, below which no other can stand', async (t) => {
  const { ca } = await testCa(clockAt(NOW));
  const text = await inspect(await tempDir(t, 'certs'), ca.certPem);
  assert.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/);
  assert.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  assert.match(text, /Signature Algorithm: sha256WithRSAEncryption/);
  assert.doesNotMatch(text, /Extended Key Usage/);
  assert.equal(ca.notBefore.getTime(), WHOLE - 5 * MINUTE_MS);
  assert.equal(ca.notAfter.getTime(), WHOLE + 3650 * DAY_MS);
});

test("an agent's certificate holds what the server decided", async (t) => {
  const to = await testCa(clockAt(NOW));
  const spki = spkiOf(p256().publicKey);
  const issued = await issueAgent(to, spki, clockAt(NOW));
  const x509 = new X509Certificate(issued.certPem);
  assert.equal(x509.subject, `CN=${hostId}`);
  assert.equal(x509.subjectAltName, `URI:fairlead://${to.installationId}/agent/${hostId}`);
  assert.deepEqual(x509.keyUsage, ['1.3.6.1.5.5.7.3.2']);
  assert.equal(x509.ca, false);
  assert.deepEqual(spkiOf(x509.publicKey), spki);
  assert.equal(issued.serial, normalizeSerial(x509.serialNumber));
  assert.match(issued.serial, /^[4-7][0-9A-F]{31}$/);
  assert.equal(issued.spkiPin, spkiPin(issued.certPem));
  assert.deepEqual([issued.notBefore, issued.notAfter], [x509.validFromDate, x509.validToDate]);
  assert.equal(issued.notBefore.getTime(), WHOLE - 5 * MINUTE_MS);
  assert.equal(issued.notAfter.getTime(), WHOLE + 30 * DAY_MS);
  const text = await inspect(await tempDir(t, 'certs'), issued.certPem);
  assert.match(text, /Basic Constraints: critical\s+CA:FALSE\n/);
  assert.match(text, /X509v3 Key Usage: critical\s+Digital Signature\n/);
  assert.match(text, /Extended Key Usage: ?\n\s+TLS Web Client Authentication\n/);
});

test("the server's certificate names the internal name first, then the public hosts", async () => {
  const publicHosts = ['mesh.example.org', '10.0.0.1', 'fd00::1', 'server.fairlead.internal'];
  const issued = await one.ca.issueServer({ publicHosts, clock: clockAt(Date.now()) });
  const x509 = new X509Certificate(issued.certPem);
  assert.equal(x509.subject, 'CN=server.fairlead.internal');
  assert.equal(
    x509.subjectAltName,
    'DNS:server.fairlead.internal, DNS:mesh.example.org, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1',
  );
  assert.deepEqual(x509.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  assert.equal(x509.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  assert.equal(issued.notAfter.getTime() - issued.notBefore.getTime(), 90 * DAY_MS + 5 * MINUTE_MS);
});

test('key identifiers lead from a leaf to its CA', async (t) => {
  const dir = await tempDir(t, 'certs');
  const idOf = (text: string, name: string) =>
    new RegExp(`X509v3 ${name} Key Identifier: ?\\n\\s+(?:keyid:)?([0-9A-F:]{59})`).exec(text)?.[1];
  const caText = await inspect(dir, one.ca.certPem);
  const leafText = await inspect(dir, (await issueAgent(one)).certPem);
  const caId = idOf(caText, 'Subject');
  assert.ok(caId);
  assert.equal(idOf(leafText, 'Authority'), caId);
  const leafId = idOf(leafText, 'Subject');
  assert.ok(leafId);
  assert.notEqual(leafId, caId);
});

test('what a request asks for never reaches the certificate', async (t) => {
  const dir = await tempDir(t, 'certs');
  const csr = join(dir, 'csr.pem');
  const asks = [
    'basicConstraints=critical,CA:TRUE',
    'keyUsage=critical,keyCertSign,cRLSign',
    'extendedKeyUsage=serverAuth,clientAuth',
    'subjectAltName=DNS:server.fairlead.internal,IP:10.0.0.1,URI:fairlead://a/agent/b',
  ].flatMap((value) => ['-addext', value]);
  const subject = ['-subj', '/CN=server.fairlead.internal/O=Evil', '-utf8'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', join(dir, 'key')];
  assert.equal((await openssl('req', '-new', ...key, ...subject, ...asks, '-out', csr)).code, 0);
  const { spki } = await readCsr(await readFile(csr, 'utf8'));
  const issued = await issueAgent(one, spki);
  const text = await inspect(dir, issued.certPem);
  assert.doesNotMatch(text, /CA:TRUE|Certificate Sign|CRL Sign|Server Authentication|Evil|internal|10\.0\.0\.1|DNS:/);
  assert.equal(await verifies(dir, issued.certPem, 'sslserver'), false);
  assert.equal(await verifies(dir, issued.certPem, 'sslclient'), true);
});

test('no certificate outlives the CA, and none is issued after its end', async () => {
  const to = await testCa(clockAt(NOW));
  const end = to.ca.notAfter.getTime();
  const late = clockAt(end - DAY_MS);
  assert.equal((await issueAgent(to, undefined, late)).notAfter.getTime(), end);
  assert.equal((await to.ca.issueServer({ publicHosts: [], clock: late })).notAfter.getTime(), end);
  const expired = (error: unknown) =>
    isFairleadError(error, 'CERT_EXPIRED') && error.message.includes('expired on 2039');
  await assert.rejects(issueAgent(to, undefined, clockAt(end)), expired);
  await assert.rejects(to.ca.issueServer({ publicHosts: [], clock: clockAt(end + 1) }), expired);
});

test('dates from 2050 on are written as they should be', async (t) => {
  const clock = clockAt(Date.UTC(2049, 11, 15));
  const to = await testCa(clock);
  const issued = await issueAgent(to, undefined, clock);
  const x509 = new X509Certificate(issued.certPem);
  assert.deepEqual(x509.validToDate, issued.notAfter);
  assert.equal(x509.validToDate.getUTCFullYear(), 2050);
  const file = join(await tempDir(t, 'certs'), 'leaf.pem');
  await writeFile(file, issued.certPem);
  const { text } = await openssl('asn1parse', '-in', file);
  assert.match(text, /UTCTIME\s+:49\d+Z[\s\S]*GENERALIZEDTIME\s+:2050\d+Z/);
});

test('keys that must not be certified are refused once more when a certificate is issued', async () => {
  const csrInvalid = (error: unknown) => isFairleadError(error, 'CSR_INVALID');
  const caSpki = spkiOf(new X509Certificate(one.ca.certPem).publicKey);
  await assert.rejects(issueAgent(one, caSpki), csrInvalid);
  await assert.rejects(issueAgent(one, spkiOf(rsa(1024).publicKey)), csrInvalid);
  await assert.rejects(issueAgent(one, rsaSpki(Buffer.alloc(1024, 0xff))), csrInvalid);
  await assert.rejects(issueAgent(one, Buffer.from('x')), (error) => isFairleadError(error));
});

test('ids that are not UUIDs are refused: names hold only what the server made', async () => {
  const spki = spkiOf(p256().publicKey);
  for (const id of ['', 'šdmin', 'a', hostId.toUpperCase(), `${hostId}\n`]) {
    const { installationId, ca } = one;
    const refused = (error: unknown) => isFairleadError(error, 'VALIDATION');
    await assert.rejects(ca.issueAgent({ spki, hostId: id, installationId, clock: systemClock }), refused);
    await assert.rejects(ca.issueAgent({ spki, hostId, installationId: id, clock: systemClock }), refused);
    await assert.rejects(createCa({ installationId: id, clock: systemClock, bits: 2048 }), refused);
  }
});

test('a CA opens only with its own key, and only if it is one', async () => {
  const other = await testCa();
  const leaf = await one.ca.issueServer({ publicHosts: [], clock: systemClock });
  const refused = (why: RegExp) => (error: unknown) => isFairleadError(error, 'VALIDATION') && why.test(error.message);
  assert.throws(() => openCa({ ...one.material, keyPem: other.material.keyPem }), refused(/does not belong/));
  assert.throws(() => openCa({ ...one.material, keyPem: 'x' }), refused(/damaged/));
  assert.throws(() => openCa({ ...one.material, certPem: 'x' }), refused(/certificate/));
  assert.throws(() => openCa({ certPem: leaf.certPem, keyPem: leaf.keyPem }), refused(/not that of a CA/));
});

test('a real CA has 4096 bits, is made without blocking the loop, and signs', async (t) => {
  let longest = 0;
  let last = performance.now();
  const started = last;
  const ticking = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 5);
  t.after(() => clearInterval(ticking));
  const installationId = randomUUID();
  const material = await createCa({ installationId, clock: systemClock });
  const took = performance.now() - started;
  longest = Math.max(longest, performance.now() - last);
  const ca = openCa(material);
  assert.equal(new X509Certificate(ca.certPem).publicKey.asymmetricKeyDetails?.modulusLength, 4096);
  assert.ok(longest < Math.max(50, took / 4), `the loop stood still for ${longest} of ${took} ms`);
  const leaf = await ca.issueServer({ publicHosts: [], clock: systemClock });
  assert.equal(new X509Certificate(leaf.certPem).verify(new X509Certificate(ca.certPem).publicKey), true);
});
