/** Backups of a store in use: what is in them, one at a time, and nothing left behind whatever happens. */
import assert from 'node:assert/strict';
import { appendFile, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { JOURNAL, MASTER_KEY } from '../../../../server/backup/manifest.ts';
import { readBackupWith, readManifestOf } from '../../../../server/backup/read.ts';
import { SCHEMA_VERSION } from '../../../../server/store/migrate.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { VERSION } from '../../../../shared/version.ts';
import { tempDir } from '../../../support/tmp.ts';
import { START } from '../store/fixture.ts';
import { backupsOf, cheapKey, MASTER_KEY_TEXT, never, openBackups, PASSPHRASE, writeBackup } from './fixture.ts';

test('a backup holds the store, the master key and the journal, and says what it is', async (t) => {
  const { store, dataDir, backups } = await openBackups(t);
  await store.settings.set('known', Buffer.from('a value that nobody shall read'));
  const journal = '{"serial":"AB"}\n';
  await appendFile(join(dataDir, JOURNAL), journal);
  await writeFile(join(dataDir, 'admin-token'), 'fla1.secret\n');
  const file = join(await tempDir(t), 'b');
  const manifest = await writeBackup(backups, file);
  assert.deepEqual(
    { ...manifest, parts: manifest.parts.map(({ name }) => name) },
    {
      format: 1,
      version: VERSION,
      schemaVersion: SCHEMA_VERSION,
      createdAt: new Date(START).toISOString(),
      createdBy: 'the-admin',
      installationId: 'an-installation',
      caFingerprint: `sha256:${'00'.repeat(32)}`,
      caSeal: 'master-key',
      parts: ['fairlead.db', MASTER_KEY, JOURNAL],
    },
  );
  const parts = new Map<string, Buffer>();
  const read = await readBackupWith(file, PASSPHRASE, {
    part: async ({ name }, bytes) => void parts.set(name, Buffer.concat(await Array.fromAsync(bytes))),
  });
  assert.deepEqual(read, manifest);
  assert.equal(parts.get(MASTER_KEY)?.toString(), MASTER_KEY_TEXT);
  assert.equal(parts.get(JOURNAL)?.toString(), journal);
  assert.ok(parts.get('fairlead.db')?.includes('a value that nobody shall read'));
  const sealed = await readFile(file);
  for (const secret of [
    'a value that nobody',
    'SQLite format',
    MASTER_KEY_TEXT.trim(),
    'an-installation',
    PASSPHRASE,
  ]) {
    assert.ok(!sealed.includes(secret), `${secret} can be read`);
  }
  assert.ok(!(await readdir(dataDir)).includes('backup.tmp'));
});

test('one at a time; the next one may begin when it is released', async (t) => {
  const { backups, dataDir } = await openBackups(t);
  const key = await cheapKey();
  const [first, second] = await Promise.allSettled([backups.create(key, 'a', never), backups.create(key, 'b', never)]);
  assert.ok(first.status === 'fulfilled' && second.status === 'rejected');
  assert.equal(second.reason.code, 'CONFLICT');
  assert.equal((await stat(join(dataDir, 'backup.tmp'))).mode & 0o777, 0o700);
  for (const name of await readdir(join(dataDir, 'backup.tmp'))) {
    assert.equal((await stat(join(dataDir, 'backup.tmp', name))).mode & 0o077, 0, name);
  }
  first.value.release();
  first.value.release();
  assert.ok(!(await readdir(dataDir)).includes('backup.tmp'));
  (await backups.create(key, 'c', never)).release();
});

test('one that is called off, or cut short by a stop, leaves nothing', async (t) => {
  const { backups, dataDir, store } = await openBackups(t);
  for (let i = 0; i < 32; i++) await store.settings.set(`ballast ${i}`, Buffer.alloc(1024 * 1024));
  const key = await cheapKey();
  const gone = new AbortController();
  const reason = new FairleadError('CANCELLED', 'the client went away');
  const making = backups.create(key, 'a', gone.signal);
  setImmediate(() => gone.abort(reason));
  await assert.rejects(making, reason);
  assert.ok(!(await readdir(dataDir)).includes('backup.tmp'));

  const cut = backups.create(key, 'a', never);
  const ended = assert.rejects(cut, { code: 'SHUTDOWN' });
  await backups.close();
  assert.ok(!(await readdir(dataDir)).includes('backup.tmp'));
  await ended;
  await assert.rejects(backups.create(key, 'a', never), { code: 'SHUTDOWN' });
});

test('two files have no key stream in common, even if a client gives the same key twice', async (t) => {
  const { backups } = await openBackups(t);
  const dir = await tempDir(t);
  const key = await cheapKey();
  for (const name of ['1', '2']) await writeBackup(backups, join(dir, name), key);
  const [one, two] = await Promise.all(['1', '2'].map((name) => readFile(join(dir, name))));
  assert.ok(one && two && !one.subarray(24, 40).equals(two.subarray(24, 40)));
  const shared = one.subarray(40, 400).filter((byte, at) => byte === two[40 + at]);
  assert.ok(shared.length < 20, `${shared.length} of 360 bytes are the same`);
  assert.equal((await readManifestOf(join(dir, '2'), async () => key.key)).createdBy, 'the-admin');
});

test('without the master key there is no backup, unless the CA rests under a passphrase', async (t) => {
  const { backups, dataDir, store, clock } = await openBackups(t);
  await rm(join(dataDir, 'master.key'));
  await assert.rejects(backups.create(await cheapKey(), 'a', never), {
    code: 'STORE_UNAVAILABLE',
    message: /master\.key is missing/,
  });
  assert.ok(!(await readdir(dataDir)).includes('backup.tmp'));
  const file = join(await tempDir(t), 'b');
  const manifest = await writeBackup(backupsOf({ store, clock }, 'passphrase'), file);
  assert.equal(manifest.caSeal, 'passphrase');
  assert.deepEqual(
    manifest.parts.map(({ name }) => name),
    ['fairlead.db', 'revoked.ndjson'],
  );
});

test('a recipe out of bounds is refused before anything begins', async (t) => {
  const { backups } = await openBackups(t);
  const { recipe, key } = await cheapKey();
  for (const wrong of [{ log2N: 5 }, { log2N: 25 }, { r: 1 }, { p: 0 }, { p: 200 }]) {
    await assert.rejects(backups.create({ recipe: { ...recipe, ...wrong }, key }, 'a', never), { code: 'VALIDATION' });
  }
  (await backups.create({ recipe, key }, 'a', never)).release();
});
