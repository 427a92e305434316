/** Readers of certificates that a stranger may have put together: nobody is trusted whom the CA has not vouched for. */
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, randomUUID, verify, X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { createCa, openCa } from '../../certs/authority.ts';
import { createCsr, readCsr } from '../../certs/csr.ts';
import { isSignedBy } from '../../certs/endorsement.ts';
import { agentIdentity } from '../../certs/names.ts';
import { certificateBlocks, firstCertificate, readCertificate } from '../../certs/pem.ts';
import { spkiOf } from '../../certs/pin.ts';
import { isRecoveryProof, proveRecovery } from '../../certs/recovery-proof.ts';
import { type Root, trustFrom } from '../../certs/trust.ts';
import { systemClock } from '../../shared/clock.ts';
import { attack, type HostileReader, refuse } from '../support/hostile-reader.ts';
import { changedBytes } from '../support/mutations.ts';
import { p256 } from '../unit/certs/fixtures.ts';

const INSTALLATION = randomUUID();
const makeCa = async () => openCa(await createCa({ installationId: INSTALLATION, clock: systemClock, bits: 2048 }));
const [a, b] = await Promise.all([makeCa(), makeCa()]);
const NOW = Date.now();

const [rootA, rootB] = [a, b].map((ca) => new X509Certificate(ca.rootPem));
assert.ok(rootA !== undefined && rootB !== undefined);
const endorsement = await a.endorse({ root: readCertificate(b.rootPem), days: 30, clock: systemClock });
const BUNDLES = [[a.rootPem], [b.rootPem, a.rootPem, endorsement], [endorsement, a.rootPem, b.rootPem, 'text\n']];
const SEED_BUNDLES = BUNDLES.map((parts) => Buffer.from(parts.join('')));
const ders = BUNDLES[1]?.map((pem) => new X509Certificate(pem).raw) ?? [];
const asPem = (der: Buffer) => `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`;

const bundle: HostileReader<Root[]> = {
  name: 'trust bundle',
  seeds: SEED_BUNDLES,
  read: (bytes) => {
    const roots = trustFrom(bytes.toString('latin1'), a.fingerprint, NOW);
    return roots.length === 0 ? refuse('nothing in it is trusted') : roots;
  },
  codes: ['VALIDATION'],
  judge: (roots, bytes) => {
    const keys = roots.map(({ x509 }) => spkiOf(x509.publicKey));
    const [keyA, keyB] = [spkiOf(rootA.publicKey), spkiOf(rootB.publicKey)];
    assert.ok(
      keys.every((key) => key.equals(keyA) || key.equals(keyB)),
      'a stranger is trusted',
    );
    assert.ok(keys.some((key) => key.equals(keyA)));
    assert.ok(roots.every(({ x509 }) => x509.verify(x509.publicKey)));
    if (!keys.some((key) => key.equals(keyB))) return;
    const whole = certificateBlocks(bytes.toString('latin1')).flatMap((pem) => {
      try {
        return [new X509Certificate(pem)];
      } catch {
        return [];
      }
    });
    const isEndorsed = whole.some((one) => spkiOf(one.publicKey).equals(keyB) && one.verify(rootA.publicKey));
    assert.ok(isEndorsed, 'a root is trusted that nobody endorsed');
  },
  structured: fc
    .tuple(changedBytes(ders), fc.nat({ max: 2 }))
    .map(([der, at]) => Buffer.from(ders.map((own, index) => asPem(index === at ? der : own)).join(''))),
  runs: 1_500,
};

const HOST_KEYS = p256();
const hostKey = createPrivateKey(HOST_KEYS.privateKey.export({ type: 'pkcs8', format: 'pem' }));
const hostCert = await a.issueAgent({
  spki: spkiOf(HOST_KEYS.publicKey),
  ...{ hostId: randomUUID(), installationId: INSTALLATION, clock: systemClock },
});
const csr = await createCsr(p256().privateKey);
const hostX509 = readCertificate(firstCertificate(hostCert.certPem));
const proof = await proveRecovery(hostX509, csr, hostKey);

interface Claim {
  readonly certificate: X509Certificate;
  readonly csr: string;
  readonly proof: string;
}

const recovery: HostileReader<Claim> = {
  name: 'request for recovery',
  seeds: [Buffer.from([hostCert.certPem, csr, proof].join('\0'))],
  read: async (bytes) => {
    const [certificatePem = '', csrPem = '', signature = ''] = bytes.toString('latin1').split('\0');
    const certificate = readCertificate(firstCertificate(certificatePem));
    // As the product does: the key of a certificate that the CA has not signed is not looked at.
    if (agentIdentity(certificate)?.installationId !== INSTALLATION || !isSignedBy(certificate, rootA)) {
      refuse('the certificate is of somebody else');
    }
    if (!(await isRecoveryProof(certificate, csrPem, signature))) refuse('the proof is of something else');
    await readCsr(csrPem);
    return { certificate, csr: csrPem, proof: signature };
  },
  codes: ['VALIDATION', 'CSR_INVALID'],
  judge: (claim) => {
    assert.ok(claim.certificate.raw.equals(hostX509.raw) && claim.csr === csr, 'it was proven for something else');
    const digest = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest();
    const text = Buffer.concat([Buffer.from('fairlead recovery v1\0'), digest(hostX509.raw), digest(csr)]);
    assert.ok(verify('sha256', text, HOST_KEYS.publicKey, Buffer.from(claim.proof, 'base64')));
  },
  // What stands around the certificate is nobody's word.
  structured: fc
    .stringMatching(/^[a-z \n]{1,20}$/)
    .map((around) => Buffer.from([`${around}\n${hostCert.certPem}${around}`, csr, proof].join('\0'))),
  runs: 4_000,
};

attack(bundle, { takes: true });
attack(recovery, { takes: true });
