/** Certificates of operators: what stands in them, and that they are none of an agent's. */
import assert from 'node:assert/strict';
import { randomUUID, X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { agentIdentity, operatorIdentity } from '../../../certs/names.ts';
import { spkiOf } from '../../../certs/pin.ts';
import { systemClock } from '../../../shared/clock.ts';
import { tempDir } from '../../support/tmp.ts';
import { clockAt, openssl, p256, type TestCa, testCa } from './fixtures.ts';

let one: TestCa;
before(async () => {
  one = await testCa();
});

function request(change: object = {}) {
  const { installationId } = one;
  const spki = spkiOf(p256().publicKey);
  return { spki, installationId, operatorId: randomUUID(), lifeSeconds: 3600, clock: systemClock, ...change };
}

test('it is a client by one URI that says operator, and openssl takes it for a client alone', async (t) => {
  const asked = request();
  const { certPem, serial } = await one.ca.issueOperator(asked);
  const x509 = new X509Certificate(certPem);
  const { installationId, operatorId } = asked;
  assert.deepEqual(operatorIdentity(x509), { installationId, operatorId });
  assert.equal(agentIdentity(x509), undefined);
  assert.equal(x509.subjectAltName, `URI:fairlead://${installationId}/operator/${operatorId}`);
  assert.equal(x509.subject, `CN=${operatorId}`);
  assert.equal(x509.serialNumber, serial);
  assert.deepEqual([x509.ca, x509.keyUsage], [false, ['1.3.6.1.5.5.7.3.2']]);
  const dir = await tempDir(t, 'operator');
  const [ca, leaf] = [join(dir, 'ca.pem'), join(dir, 'leaf.pem')];
  await writeFile(ca, one.ca.certPem);
  await writeFile(leaf, certPem);
  const verify = (purpose: string) => openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', ca, leaf);
  assert.equal((await verify('sslclient')).code, 0);
  assert.notEqual((await verify('sslserver')).code, 0);
});

test('an agent’s certificate names no operator', async () => {
  const { spki, installationId, clock } = request();
  const { certPem } = await one.ca.issueAgent({ spki, installationId, clock, hostId: randomUUID() });
  assert.equal(operatorIdentity(new X509Certificate(certPem)), undefined);
});

test('it lives as long as asked, to the second, and never longer than the CA', async () => {
  const now = Math.floor(Date.now() / 1000) * 1000;
  for (const lifeSeconds of [60, 61, 3601, 7_776_001]) {
    const { notAfter } = await one.ca.issueOperator(request({ lifeSeconds, clock: clockAt(now) }));
    assert.equal(notAfter.getTime(), now + lifeSeconds * 1000);
  }
  const late = clockAt(one.ca.notAfter.getTime() - 60_000);
  assert.deepEqual((await one.ca.issueOperator(request({ clock: late }))).notAfter, one.ca.notAfter);
});

test('ids that are no UUIDs, and the key of the CA itself, are refused', async () => {
  await assert.rejects(one.ca.issueOperator(request({ operatorId: 'admin' })), { code: 'VALIDATION' });
  const spki = spkiOf(new X509Certificate(one.ca.certPem).publicKey);
  await assert.rejects(one.ca.issueOperator(request({ spki })), { code: 'CSR_INVALID' });
});
