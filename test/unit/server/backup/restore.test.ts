/** Restoring: what comes back, what is kept, and that a refusal touches nothing. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { Audit } from '../../../../server/audit/audit.ts';
import { newHeader } from '../../../../server/backup/header.ts';
import { JOURNAL, type Manifest, writeContent } from '../../../../server/backup/manifest.ts';
import { type Restored, type RestoreOptions, restoreBackup } from '../../../../server/backup/restore.ts';
import { recordRestore } from '../../../../server/backup/restore-note.ts';
import { sealStream } from '../../../../server/backup/sealed-stream.ts';
import { lineOf } from '../../../../server/store/revocation-journal.ts';
import { openStore } from '../../../../server/store/store.ts';
import { defer, fileCleanup, tempDir } from '../../../support/tmp.ts';
import { aCertificate, aHost, HOST_IDS, openTestStore, START, StillClock } from '../store/fixture.ts';
import { cheapKey, contentOf, MASTER_KEY_TEXT, openBackups, PASSPHRASE, writeBackup } from './fixture.ts';

const shared = fileCleanup();
const log = { error: () => assert.fail('the audit log failed') };
let dir: string;
let file: string;

before(async () => {
  dir = await tempDir(shared, 'restore');
  file = join(dir, 'backup');
  const { store, backups, dataDir } = await openBackups(shared);
  await store.hosts.insert(aHost(HOST_IDS[0], 'one'));
  await store.certificates.insert(aCertificate('AB', HOST_IDS[0]));
  const [from, to] = HOST_IDS.map((hostId) => ({ hostId, volume: 'data' }));
  await store.volumeTransfers.insert({
    ...{ id: 'a-transfer', from: from ?? assert.fail(), to: to ?? assert.fail(), replaces: true, forced: false },
    ...{ createdBy: 'ann', createdAt: START, state: 'running', bytes: 7, total: undefined, carried: 7, resumes: 0 },
    ...{ restarts: 0, note: undefined, code: undefined, detail: undefined, progressAt: START, endedAt: undefined },
  });
  await appendFile(join(dataDir, JOURNAL), journal('01'));
  await writeBackup(backups, file);
});

const clock = new StillClock();

/** The journal's lines for these certificates. */
function journal(...serials: string[]): string {
  return serials.map((id) => lineOf({ kind: 'certificate', id, at: START })).join('');
}

async function restore(t: TestContext, options: Partial<RestoreOptions> = {}): Promise<Restored> {
  const dataDir = options.dataDir ?? join(await tempDir(t), 'data');
  return await restoreBackup({ file, passphrase: PASSPHRASE, by: 'root', clock, ...options, dataDir });
}

/** A data directory that was in use, with another host. */
async function usedDirectory(t: TestContext): Promise<string> {
  const { store, dataDir } = await openTestStore(t);
  await store.hosts.insert(aHost(HOST_IDS[1], 'old'));
  await store.close();
  await writeFile(join(dataDir, 'master.key'), 'the old key\n');
  await writeFile(join(dataDir, JOURNAL), journal('01', '02'));
  return dataDir;
}

async function hostsIn(dataDir: string): Promise<string[]> {
  const store = await openStore({ dataDir, clock });
  try {
    return (await store.hosts.list({})).items.map(({ name }) => name);
  } finally {
    await store.close();
  }
}

test('into a directory that is not there: whole and private', async (t) => {
  const { dataDir, aside, manifest, journaledRevocations } = await restore(t);
  assert.deepEqual((await readdir(dataDir)).sort(), ['fairlead.db', 'fairlead.lock', 'master.key', JOURNAL]);
  for (const name of await readdir(dataDir)) assert.equal((await stat(join(dataDir, name))).mode & 0o777, 0o600, name);
  assert.equal((await stat(dataDir)).mode & 0o777, 0o700);
  assert.equal(await readFile(join(dataDir, 'master.key'), 'utf8'), MASTER_KEY_TEXT);
  assert.deepEqual([aside, journaledRevocations], [undefined, 0]);
  assert.deepEqual(await hostsIn(dataDir), ['one']);
  assert.equal(manifest.createdAt, new Date(START).toISOString());
});

test('a volume transfer that ran when the backup was made is over: it would replace what came after it', async (t) => {
  const { dataDir } = await restore(t);
  const store = await openStore({ dataDir, clock });
  defer(t, () => store.close());
  assert.deepEqual(await store.volumeTransfers.active(), []);
  const { state, code, detail, endedAt } = (await store.volumeTransfers.find('a-transfer')) ?? assert.fail();
  assert.deepEqual([state, code, endedAt], ['failed', 'CANCELLED', clock.now()]);
  assert.equal(detail, 'the store was restored from a backup');
});

test('the next start writes it into the audit log, once, and serials stay unique', async (t) => {
  const { dataDir } = await restore(t);
  for (let start = 0; start < 2; start++) {
    const store = await openStore({ dataDir, clock });
    const audit = new Audit({ store, clock, log });
    await recordRestore(store, audit);
    const { items } = await audit.list({}, { action: 'backup.restore' });
    assert.equal(items.length, 1);
    const { backupCreatedAt, restoredBy, backupCreatedBy } = items[0]?.detail ?? {};
    assert.deepEqual(
      [backupCreatedAt, restoredBy, backupCreatedBy],
      [new Date(START).toISOString(), 'root', 'the-admin'],
    );
    await assert.rejects(store.certificates.insert(aCertificate('AB', HOST_IDS[0])), /UNIQUE/);
    await store.close();
  }
});

test('an installation is only replaced by force, and is kept aside; its journal counts on', async (t) => {
  const dataDir = await usedDirectory(t);
  const untouched = await contentOf(dataDir);
  await assert.rejects(restore(t, { dataDir }), { code: 'CONFLICT', message: /--force/ });
  assert.deepEqual(await contentOf(dataDir), untouched);
  const given = join(await tempDir(t), 'lost.ndjson');
  await writeFile(given, journal('03'));
  const { aside, journaledRevocations } = await restore(t, { dataDir, force: true, revocations: given });
  assert.ok(aside !== undefined);
  assert.ok(aside.startsWith(join(dataDir, 'before-restore-')));
  assert.equal(journaledRevocations, 2);
  assert.equal(await readFile(join(dataDir, JOURNAL), 'utf8'), journal('01', '02', '03'));
  const { 'fairlead.lock': _, ...old } = untouched;
  assert.deepEqual(await contentOf(aside), old);
  assert.deepEqual(await hostsIn(dataDir), ['one']);
  assert.deepEqual(await hostsIn(aside), ['old']);
  // Once more, in the same second: both old ones are kept.
  const again = await restore(t, { dataDir, force: true });
  assert.notEqual(again.aside, aside);
  assert.ok(existsSync(aside) && again.aside !== undefined && existsSync(again.aside));
});

test('a journal with which no server would start is refused beforehand, and named', async (t) => {
  const dataDir = await usedDirectory(t);
  const untouched = await contentOf(dataDir);
  const given = join(await tempDir(t), 'lost.ndjson');
  await writeFile(given, journal('03').replace('"03"', '"04"') + journal('05'));
  const refused = { code: 'VALIDATION', message: /line 1 of .*lost\.ndjson is damaged/ };
  await assert.rejects(restore(t, { dataDir, force: true, revocations: given }), refused);
  assert.deepEqual(await contentOf(dataDir), untouched);
  // What a crash has cut off never counted.
  await writeFile(given, journal('05') + journal('06').slice(0, -9));
  assert.equal((await restore(t, { dataDir, force: true, revocations: given })).journaledRevocations, 2);
  assert.equal(await readFile(join(dataDir, JOURNAL), 'utf8'), journal('01', '02', '05'));
});

test('a journal alone in the directory is taken in', async (t) => {
  const dataDir = join(await tempDir(t), 'data');
  await mkdir(dataDir);
  await writeFile(join(dataDir, JOURNAL), journal('09'));
  assert.equal((await restore(t, { dataDir })).journaledRevocations, 1);
  assert.equal(await readFile(join(dataDir, JOURNAL), 'utf8'), journal('01', '09'));
});

test('a directory with other things in it is refused, even by force', async (t) => {
  const dataDir = await tempDir(t);
  await writeFile(join(dataDir, 'thesis.txt'), 'years of work');
  for (const force of [false, true]) {
    await assert.rejects(restore(t, { dataDir, force }), { code: 'CONFLICT', message: /no data directory/ });
    assert.deepEqual(await contentOf(dataDir), { 'thesis.txt': 'years of work' });
  }
});

test('a directory that a server holds is refused', async (t) => {
  const { dataDir, store } = await openTestStore(t);
  await assert.rejects(restore(t, { dataDir, force: true }), { code: 'CONFLICT', message: /in use/ });
  await store.settings.set('goes', Buffer.from('on'));
});

/** Seals `manifest`, changed as given, with parts of the right sizes. */
async function forged(t: TestContext, change: Partial<Record<keyof Manifest, unknown>>, part = Buffer.from('x')) {
  const key = await cheapKey();
  const { createHash } = await import('node:crypto');
  const sha256 = createHash('sha256').update(part).digest('hex');
  const manifest = {
    ...{ format: 1, version: '9', schemaVersion: 1, createdAt: 'now', createdBy: 'x', installationId: 'i' },
    ...{ caFingerprint: 'f', caSeal: 'master-key', parts: [{ name: 'fairlead.db', size: part.length, sha256 }] },
    ...change,
  } as Manifest;
  const to = join(await tempDir(t), 'forged');
  await writeFile(
    to,
    sealStream(
      key.key,
      newHeader(key.recipe),
      writeContent(manifest, () => [part]),
    ),
  );
  return to;
}

test('what cannot be restored is told in one sentence, and nothing is touched', async (t) => {
  const sealed = await readFile(file);
  const broken = join(await tempDir(t), 'broken');
  const cases: [what: string, content: Buffer, message: RegExp, passphrase?: string][] = [
    ['another passphrase', sealed, /passphrase is wrong/, 'another'],
    ['no passphrase', sealed, /passphrase of the backup is empty/, ''],
    ['an empty file', Buffer.alloc(0), /the file is empty/],
    ['no backup', Buffer.from('<html>not found</html>'.repeat(10)), /no backup of Fairlead/],
    ['a newer format', Buffer.concat([sealed.subarray(0, 4), Buffer.of(2), sealed.subarray(5)]), /newer version/],
    ['more behind it', Buffer.concat([sealed, Buffer.of(0)]), /damaged|cut off/],
  ];
  for (const size of [3, 8, 39, 40, 41, 56, 1000, 65_592, 65_593, sealed.length - 1]) {
    cases.push([`${size} bytes of it`, sealed.subarray(0, size), /cut off/]);
  }
  for (const at of [0, 4, 5, 6, 9, 25, 41, 5_000, 70_000, sealed.length - 1]) {
    const flipped = Buffer.from(sealed);
    flipped[at] = (flipped[at] ?? 0) ^ 0x40;
    cases.push([`byte ${at} flipped`, flipped, /the backup cannot be read: [^\n]+$/]);
  }
  const used = await usedDirectory(t);
  const untouched = await contentOf(used);
  const parent = await tempDir(t);
  for (const [index, [what, content, message, passphrase = PASSPHRASE]] of cases.entries()) {
    await writeFile(broken, content);
    const expected = { name: 'FairleadError', code: 'VALIDATION', message };
    await assert.rejects(restore(t, { file: broken, passphrase, dataDir: used, force: true }), expected, what);
    assert.deepEqual(await contentOf(used), untouched, what);
    assert.ok(!(await readdir(used)).some((name) => name.includes('restore')), what);
    if (index % 4 !== 0) continue;
    await assert.rejects(restore(t, { file: broken, passphrase, dataDir: join(parent, 'a', 'b') }), expected, what);
    assert.deepEqual(await readdir(parent), [], what);
  }
});

test('a backup that is sealed rightly but makes no sense is refused, too', async (t) => {
  const parent = await tempDir(t);
  const cases: [what: string, file: string, code: string, message: RegExp][] = [
    ['a newer schema', await forged(t, { schemaVersion: 1_000_000 }), 'CONFLICT', /newer version/],
    ['a newer manifest', await forged(t, { format: 2 }), 'VALIDATION', /newer version/],
    ['no parts', await forged(t, { parts: [] }), 'VALIDATION', /does not make sense/],
    [
      'no store',
      await forged(t, { parts: [{ name: 'master.key', size: 1, sha256: '0'.repeat(64) }] }),
      'VALIDATION',
      /no store/,
    ],
    [
      'a path',
      await forged(t, { parts: [{ name: '../evil', size: 1, sha256: '0'.repeat(64) }] }),
      'VALIDATION',
      /sense/,
    ],
    [
      'other bytes',
      await forged(t, { parts: [{ name: 'fairlead.db', size: 1, sha256: '0'.repeat(64) }] }),
      'VALIDATION',
      /not what its manifest says/,
    ],
    [
      'no database',
      await forged(t, {}, Buffer.from('this is no database, whatever its name says')),
      'VALIDATION',
      /damaged/,
    ],
    ['a file that is not there', join(parent, 'none'), 'NOT_FOUND', /there is no file/],
  ];
  for (const [what, from, code, message] of cases) {
    await assert.rejects(restore(t, { file: from, dataDir: join(parent, 'data') }), { code, message }, what);
    assert.deepEqual(await readdir(parent), [], what);
  }
  await assert.rejects(restore(t, { revocations: join(parent, 'no-journal') }), { code: 'NOT_FOUND' });
});
