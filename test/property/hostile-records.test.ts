/** Readers of what a stranger may have written into a file that the server keeps or gave away: no forgery, no surprise. */
import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after } from 'node:test';
import { crc32 } from 'node:zlib';
import { attestersIn } from '../../certs/attestation.ts';
import { ByteReader } from '../../server/backup/byte-reader.ts';
import { HEADER_BYTES, newHeader, readHeader } from '../../server/backup/header.ts';
import { type Manifest, newManifest, readManifest, readPart, writeContent } from '../../server/backup/manifest.ts';
import { openStream, sealStream } from '../../server/backup/sealed-stream.ts';
import { checkExport } from '../../server/cli/audit-check.ts';
import { CliError } from '../../server/cli/errors.ts';
import { lineOf, type Revocation, readJournal } from '../../server/store/revocation-journal.ts';
import { CHECKPOINT_PURPOSE, checkpointText } from '../../shared/audit-chain.ts';
import { EXPORT_FORMAT, exportCheckpoint, exportEnd, exportRow } from '../../shared/audit-export.ts';
import { attack, type HostileReader, refuse } from '../support/hostile-reader.ts';
import { changedBytes } from '../support/mutations.ts';
import { testCa } from '../unit/certs/fixtures.ts';
import { aChain } from '../unit/shared/audit-chains.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-hostile-'));
after(() => rm(dir, { recursive: true }));

const { ca, installationId: INSTALLATION } = await testCa();

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
const CONTENT = await buffer(writeContent(MANIFEST, ({ name }) => [PARTS[name as keyof typeof PARTS]]));
const sealed = (content: Buffer) => buffer(sealStream(KEY, HEADER, [content]));
const BACKUP = await sealed(CONTENT);

async function readWhole(file: Buffer): Promise<{ manifest: Manifest; parts: Map<string, Buffer> }> {
  const bytes = new ByteReader(Readable.from([file]));
  const header = await bytes.upTo(HEADER_BYTES);
  readHeader(header);
  const content = new ByteReader(openStream(KEY, header, bytes.rest()));
  const manifest = await readManifest(content);
  const parts = new Map<string, Buffer>();
  for (const part of manifest.parts) parts.set(part.name, await buffer(readPart(content, part)));
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

const ROWS = aChain(6);
const KEYS = attestersIn(ca.certPem);

async function checkpointAt(id: number): Promise<object> {
  const at = { kind: 'head' as const, id, hash: ROWS[id - 1]?.hash ?? '', count: id, at: 5, signer: ca.fingerprint };
  const signature = await ca.attest(CHECKPOINT_PURPOSE, checkpointText(at));
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

attack(backup, { takes: false });
attack(content, { takes: true });
attack(journal, { takes: true });
attack(auditExport, { takes: true });
