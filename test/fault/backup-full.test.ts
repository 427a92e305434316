/** A disk that is full while a backup is made or restored: told in words, and nothing left of what was begun. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { restoreBackup } from '../../server/backup/restore.ts';
import { openStore } from '../../server/store/store.ts';
import { tempDir } from '../support/tmp.ts';
import { backupsOf, cheapKey, never, openBackups, PASSPHRASE, writeBackup } from '../unit/server/backup/fixture.ts';
import { StillClock } from '../unit/server/store/fixture.ts';

const MIB = 1024 * 1024;

/** A file system of its own, as small as given; undefined where tests may not mount one. */
async function smallDisk(t: TestContext, bytes: number): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', dir]);
  t.after(async () => {
    if (mounted.status === 0) spawnSync('umount', ['--lazy', dir]);
    await rm(dir, { recursive: true });
  });
  if (mounted.status !== 0) t.diagnostic('not run: only root can mount a small disk');
  return mounted.status === 0 ? dir : undefined;
}

test('there is no room for the snapshot', async (t) => {
  const disk = await smallDisk(t, 24 * MIB);
  if (disk === undefined) return;
  const clock = new StillClock();
  const dataDir = join(disk, 'data');
  const store = await openStore({ dataDir, clock });
  t.after(() => store.close());
  await writeFile(join(dataDir, 'master.key'), 'key\n');
  for (let i = 0; i < 8; i++) await store.settings.set(`ballast ${i}`, Buffer.alloc(MIB));
  await writeFile(join(disk, 'rest'), Buffer.alloc(4 * MIB));
  const backups = backupsOf({ store, clock });
  await assert.rejects(backups.create(await cheapKey(), 'a', never), { code: 'STORE_FULL', message: /is full/ });
  assert.ok(!(await readdir(dataDir)).includes('backup.tmp'));
  await store.settings.set('goes', Buffer.from('on'));
  await rm(join(disk, 'rest'));
  await store.settings.delete('ballast 0');
});

test('there is no room for what is restored', async (t) => {
  const disk = await smallDisk(t, 4 * MIB);
  if (disk === undefined) return;
  const { store, backups, clock } = await openBackups(t);
  for (let i = 0; i < 8; i++) await store.settings.set(`ballast ${i}`, Buffer.alloc(MIB));
  const file = join(await tempDir(t), 'backup');
  await writeBackup(backups, file);
  const dataDir = join(disk, 'data');
  const restore = restoreBackup({ file, passphrase: PASSPHRASE, dataDir, by: 'root', clock });
  await assert.rejects(restore, { code: 'STORE_FULL', message: /is full/ });
  assert.deepEqual(await readdir(disk), []);
});
