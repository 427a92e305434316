/** Readers of what a stranger may have written into a file, a bundle, a header or a cookie: no forgery, no surprise. */
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, randomUUID, verify, X509Certificate } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { attestersIn } from '../../certs/attestation.ts';
import { createCa, openCa } from '../../certs/authority.ts';
import { createCsr, readCsr } from '../../certs/csr.ts';
import { isSignedBy } from '../../certs/endorsement.ts';
import { agentIdentity } from '../../certs/names.ts';
import { certificateBlocks, firstCertificate, readCertificate } from '../../certs/pem.ts';
import { spkiOf } from '../../certs/pin.ts';
import { isRecoveryProof, proveRecovery } from '../../certs/recovery-proof.ts';
import { type Root, trustFrom } from '../../certs/trust.ts';
import { ByteReader } from '../../server/backup/byte-reader.ts';
import { HEADER_BYTES, newHeader, readHeader } from '../../server/backup/header.ts';
import { type Manifest, newManifest, readManifest, readPart, writeContent } from '../../server/backup/manifest.ts';
import { openStream, sealStream } from '../../server/backup/sealed-stream.ts';
import { checkExport } from '../../server/cli/audit-check.ts';
import { CliError } from '../../server/cli/errors.ts';
import { MAX_PROXY_HEADER_BYTES } from '../../server/doors/limits.ts';
import { readProxyHeader } from '../../server/doors/proxy-header.ts';
import { SESSION_COOKIE, sessionSecret } from '../../server/routes/session-cookie.ts';
import { lineOf, type Revocation, readJournal } from '../../server/store/revocation-journal.ts';
import { CHECKPOINT_PURPOSE, checkpointText } from '../../shared/audit-chain.ts';
import { EXPORT_FORMAT, exportCheckpoint, exportEnd, exportRow } from '../../shared/audit-export.ts';
import { systemClock } from '../../shared/clock.ts';
import { parseDuration } from '../../shared/duration.ts';
import { FairleadError } from '../../shared/errors.ts';
import { attackReader, type HostileReader } from '../support/hostile-reader.ts';
import { changedBytes } from '../support/mutations.ts';
import { proxyHeader, rawProxyHeader } from '../support/proxy-header.ts';
import { p256 } from '../unit/certs/fixtures.ts';
import { aChain } from '../unit/shared/audit-chains.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-hostile-'));
after(() => rm(dir, { recursive: true }));

/** For readers that say no in another way than by an error of the product's family. */
function refuse(why: string): never {
  throw new FairleadError('VALIDATION', why);
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

const INSTALLATION = randomUUID();
const makeCa = async () => openCa(await createCa({ installationId: INSTALLATION, clock: systemClock, bits: 2048 }));
const [a, b] = await Promise.all([makeCa(), makeCa()]);
const NOW = Date.now();

const proxy: HostileReader<{ bytes: number; source?: { address: string; port: number } | undefined }> = {
  name: 'PROXY header',
  seeds: [
    proxyHeader('192.0.2.7', 4711),
    proxyHeader('2001:db8::7', 4711, Buffer.from('0400020102', 'hex')),
    rawProxyHeader(0x20, 0),
    rawProxyHeader(0x21, 0x31, Buffer.alloc(216)),
  ],
  read: (bytes) => {
    const header = readProxyHeader(bytes);
    return header.state === 'complete' ? header : refuse(header.state);
  },
  codes: ['VALIDATION'],
  judge: ({ bytes: length, source }, bytes) => {
    assert.equal(bytes.subarray(0, 12).toString('hex'), '0d0a0d0a000d0a515549540a');
    assert.ok(length === 16 + bytes.readUInt16BE(14) && length <= bytes.length && length <= MAX_PROXY_HEADER_BYTES);
    const [command, family] = [bytes[12], bytes[13]];
    assert.ok(command === 0x20 || command === 0x21);
    const size = { 17: 4, 33: 16 }[command === 0x20 ? 0 : (family ?? 0)];
    if (size === undefined) return assert.equal(source, undefined, 'nobody is made up');
    assert.equal(source?.port, bytes.readUInt16BE(16 + 2 * size));
    const four = [...bytes.subarray(16, 20)].join('.');
    if (size === 4) assert.equal(source?.address, four);
    else assert.match(source?.address ?? '', /^[0-9a-f:.]+$/);
  },
  runs: 5_000,
};

const KEY = Buffer.alloc(32, 7);
const HEADER = newHeader({ log2N: 17, r: 8, p: 1, salt: Buffer.alloc(16, 1) });
const PARTS = { 'fairlead.db': Buffer.from('a database'), 'revoked.ndjson': Buffer.alloc(300, 'x') };
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const MANIFEST = newManifest({
  ...{ version: '1', schemaVersion: 7, createdAt: '2030-01-01T00:00:00Z', createdBy: 'ann' },
  ...{ installationId: INSTALLATION, caFingerprint: 'sha256:00', caSeal: 'passphrase' as const },
  parts: Object.entries(PARTS).map(([name, bytes]) => ({
    ...{ name: name as keyof typeof PARTS, size: bytes.length, sha256: sha256(bytes) },
  })),
});
const CONTENT = await collect(writeContent(MANIFEST, ({ name }) => [PARTS[name as keyof typeof PARTS]]));
const sealed = (content: Buffer) => collect(sealStream(KEY, HEADER, [content]));
const BACKUP = await sealed(CONTENT);

async function readWhole(file: Buffer): Promise<{ manifest: Manifest; parts: Map<string, Buffer> }> {
  const bytes = new ByteReader(Readable.from([file]));
  const header = await bytes.upTo(HEADER_BYTES);
  readHeader(header);
  const content = new ByteReader(openStream(KEY, header, bytes.rest()));
  const manifest = await readManifest(content);
  const parts = new Map<string, Buffer>();
  for (const part of manifest.parts) parts.set(part.name, await collect(readPart(content, part)));
  await content.end();
  return { manifest, parts };
}

function judgeParts({ manifest, parts }: Awaited<ReturnType<typeof readWhole>>): void {
  assert.equal(parts.size, manifest.parts.length);
  for (const { name, size, sha256: digest } of manifest.parts) {
    assert.ok(['fairlead.db', 'master.key', 'revoked.ndjson'].includes(name), 'no name leads elsewhere');
    const bytes = parts.get(name);
    assert.ok(bytes !== undefined && bytes.length === size && sha256(bytes) === digest);
  }
}

const backup: HostileReader<Awaited<ReturnType<typeof readWhole>>> = {
  name: 'backup by somebody without the key',
  seeds: [BACKUP],
  read: readWhole,
  codes: ['VALIDATION'],
  judge: (value, bytes) => {
    judgeParts(value);
    assert.ok(bytes.equals(BACKUP), 'a change was not found');
  },
};

/** Keeps content in the clear, to be sealed as it is read. */
const content: HostileReader<Awaited<ReturnType<typeof readWhole>>> = {
  name: 'content of a backup, sealed by somebody with the key',
  seeds: [CONTENT],
  read: async (bytes) => await readWhole(await sealed(bytes)),
  codes: ['VALIDATION'],
  judge: judgeParts,
  structured: changedBytes([Buffer.from(JSON.stringify(MANIFEST))]).map((json) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(json.length);
    return Buffer.concat([length, json, ...Object.values(PARTS)]);
  }),
  runs: 2_000,
};

const LINES = [
  { kind: 'certificate', id: 'A1', at: 1, until: 2, reason: 'lost, "and" more' },
  { kind: 'host', id: randomUUID(), at: 3 },
  { kind: 'a-kind-of-later', id: 'x', at: 4, until: 9 },
].map(lineOf);
/** With its checksum made anew, as somebody does who knows how. */
const checked = (body: Buffer) => {
  const text = body.toString('utf8');
  return `${text},"crc":"${crc32(text).toString(16).padStart(8, '0')}"}\n`;
};

const journal: HostileReader<{ revocations: Revocation[]; isTorn: boolean }> = {
  name: 'journal of revocations',
  seeds: [Buffer.from(LINES.join('')), Buffer.from(LINES[0] ?? '')],
  read: (bytes) => {
    const path = join(dir, 'revoked.ndjson');
    writeFileSync(path, bytes);
    return readJournal(path);
  },
  codes: ['STORE_UNAVAILABLE'],
  judge: ({ revocations, isTorn }, bytes) => {
    const lines = bytes.toString('utf8').split('\n');
    assert.equal(lines.length - 1 - revocations.length, isTorn && lines.at(-1) === '' ? 1 : 0, 'none is skipped');
    for (const [index, found] of revocations.entries()) {
      const line = lines[index] ?? '';
      const { crc, ...said } = JSON.parse(line);
      assert.deepEqual({ ...said, ...found }, said);
      assert.equal(
        crc,
        crc32(line.slice(0, line.lastIndexOf(',"crc"')))
          .toString(16)
          .padStart(8, '0'),
      );
      assert.ok(Number.isInteger(found.at) && found.id !== '' && found.kind !== '');
    }
  },
  structured: changedBytes(LINES.map((line) => Buffer.from(line.slice(0, line.lastIndexOf(',"crc"'))))).map((body) =>
    Buffer.from(LINES[1] + checked(body) + LINES[2]),
  ),
  runs: 3_000,
};

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

const ROWS = aChain(6);
const KEYS = attestersIn(a.certPem);

async function checkpointAt(id: number): Promise<object> {
  const at = { kind: 'head' as const, id, hash: ROWS[id - 1]?.hash ?? '', count: id, at: 5, signer: a.fingerprint };
  const signature = await a.attest(CHECKPOINT_PURPOSE, checkpointText(at));
  return exportCheckpoint({ ...at, signature: signature.toString('base64') });
}

const RECORDS = [
  { type: 'header', format: EXPORT_FORMAT },
  ...ROWS.map(exportRow),
  await checkpointAt(ROWS.length),
  exportEnd(ROWS.length, { id: ROWS.length, hash: ROWS.at(-1)?.hash ?? '', count: ROWS.length }),
].map((record) => JSON.stringify(record));

const auditExport: HostileReader = {
  name: 'export of the audit log',
  seeds: [Buffer.from(`${RECORDS.join('\n')}\n`)],
  read: async (bytes) => {
    try {
      return await checkExport(Readable.from([bytes]), { keys: KEYS, expectHead: undefined });
    } catch (error) {
      if (error instanceof CliError) refuse(error.message);
      throw error;
    }
  },
  codes: ['VALIDATION'],
  judge: (_, bytes) => {
    const said = bytes
      .toString('utf8')
      .split('\n')
      .filter((line) => line.trim() !== '');
    const rows = said
      .map((line) => JSON.stringify(JSON.parse(line)))
      .filter((line) => line.startsWith('{"type":"row"'));
    assert.deepEqual(rows, RECORDS.slice(1, 1 + ROWS.length), 'a changed log passes');
  },
  runs: 2_000,
};

const cookie: HostileReader<string> = {
  name: 'session cookie',
  seeds: [`${SESSION_COOKIE}=secret-1`, `theme=dark; ${SESSION_COOKIE}=secret-1; lang=en`].map((text) =>
    Buffer.from(text),
  ),
  read: (bytes) => sessionSecret({ headers: { cookie: bytes.toString('latin1') } }) || refuse('none, or many'),
  codes: ['VALIDATION'],
  judge: (secret, bytes) => {
    const values = [...bytes.toString('latin1').matchAll(/(?<=^|;)\s*__Host-fairlead=([^;]*)/g)].map(([, one]) => one);
    assert.deepEqual(
      values.map((value) => value?.trimEnd()),
      [secret],
      'another cookie slips in',
    );
  },
  runs: 3_000,
};

const duration: HostileReader<number> = {
  name: 'duration',
  seeds: ['0', '90s', '30m', '12h', '7d', '9999999d'].map((text) => Buffer.from(text)),
  read: (bytes) => parseDuration(bytes.toString('latin1')) ?? refuse('no duration'),
  codes: ['VALIDATION'],
  judge: (ms, bytes) => {
    assert.ok(Number.isSafeInteger(ms) && ms >= 0);
    const text = bytes.toString('latin1');
    const digits = [...text.slice(0, -1)];
    const unit = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[text.at(-1) ?? ''];
    if (text === '0') return assert.equal(ms, 0);
    assert.ok(unit !== undefined && digits.length > 0 && digits.every((digit) => digit >= '0' && digit <= '9'));
    assert.equal(ms, Number(digits.join('')) * unit);
  },
  runs: 3_000,
};

/** @param takes whether some of the changed bytes are right; else every change is to be found */
function attack<T>(reader: HostileReader<T>, { takes }: { takes: boolean }): void {
  test(`${reader.name}: changed bytes are refused, or are right by another judgement`, async (t) => {
    const { taken, refused } = await attackReader(reader);
    t.diagnostic(`${taken} taken, ${refused} refused`);
    assert.ok(refused > 0);
    assert.equal(taken > 0, takes);
  });
}

attack(proxy, { takes: true });
attack(backup, { takes: false });
attack(content, { takes: true });
attack(journal, { takes: true });
attack(bundle, { takes: true });
attack(recovery, { takes: true });
attack(auditExport, { takes: true });
attack(cookie, { takes: true });
attack(duration, { takes: true });
