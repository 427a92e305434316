/** Killed in the midst of a backup or of a restore: the old content or the new one, never a mixture, and no remains. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { restoreBackup } from '../../server/backup/restore.ts';
import { lineOf } from '../../server/store/revocation-journal.ts';
import { openStore } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';
import { openBackups, PASSPHRASE, writeBackup } from '../unit/server/backup/fixture.ts';
import { aHost, HOST_IDS, openTestStore } from '../unit/server/store/fixture.ts';

const CHILD = fileURLToPath(new URL('backup-child.ts', import.meta.url));
const MOST_STEPS = 30;
/** Lines of the journal. */
const A = lineOf({ kind: 'certificate', id: 'A', at: 1 });
const B = lineOf({ kind: 'certificate', id: 'B', at: 1 });

const shared = fileCleanup();
let file: string;
/** A data directory that is in use. */
let used: string;

before(async () => {
  file = join(await tempDir(shared, 'killed'), 'backup');
  const { store, backups, dataDir } = await openBackups(shared);
  await store.hosts.insert(aHost(HOST_IDS[0], 'new'));
  await writeFile(join(dataDir, 'revoked.ndjson'), A);
  await writeBackup(backups, file);

  const old = await openTestStore(shared);
  await old.store.hosts.insert(aHost(HOST_IDS[1], 'old'));
  await old.store.close();
  used = old.dataDir;
  await writeFile(join(used, 'master.key'), 'old\n');
  await writeFile(join(used, 'revoked.ndjson'), B);
});

/** @returns the signal that ended it, and what it said */
async function child(t: TestContext, ...args: string[]): Promise<{ signal: string | null; said: string[] }> {
  const started = spawn(process.execPath, [CHILD, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => started.kill('SIGKILL'));
  const [said, [code, signal]] = await Promise.all([text(started.stdout), once(started, 'exit')]);
  assert.ok(signal === 'SIGKILL' || code === 0, `it ended with ${code ?? signal}`);
  return { signal, said: said.trim().split('\n') };
}

/** What counts in `dataDir` once a server has started on it: all of it old or all of it new. */
async function stateOf(dataDir: string): Promise<'old' | 'new'> {
  const store = await openStore({ dataDir, clock: systemClock });
  const hosts = (await store.hosts.list({})).items.map(({ name }) => name);
  await store.close();
  const names = (await readdir(dataDir)).filter((name) => !name.startsWith('before-restore-')).sort();
  assert.deepEqual(names, ['fairlead.db', 'fairlead.lock', 'master.key', 'revoked.ndjson']);
  const state = hosts[0] === 'old' ? 'old' : 'new';
  assert.deepEqual(hosts, [state]);
  assert.equal((await readFile(join(dataDir, 'master.key'), 'utf8')) === 'old\n', state === 'old');
  const journal = await readFile(join(dataDir, 'revoked.ndjson'), 'utf8');
  assert.equal(journal, state === 'old' ? B : A + B);
  return state;
}

test('a restore that is killed before any of its steps', async (t) => {
  const dir = await tempDir(t, 'killed');
  const seen: string[] = [];
  for (let step = 1; step <= MOST_STEPS; step++) {
    const dataDir = join(dir, String(step));
    await cp(used, dataDir, { recursive: true });
    const { signal, said } = await child(t, 'restore', dataDir, file, String(step));
    if (signal === null) {
      assert.equal(await stateOf(dataDir), 'new');
      break;
    }
    seen.push(said.at(-1) ?? '');
    const committed = said.includes('commit') && said.at(-1) !== 'commit';
    if (step % 3 === 0) {
      // Instead of a start, the restore is tried again.
      const options = { file, passphrase: PASSPHRASE, dataDir, force: true, by: 'root', clock: systemClock };
      const { aside } = await restoreBackup(options);
      assert.equal(await stateOf(dataDir), 'new');
      assert.ok(aside);
    } else {
      assert.equal(await stateOf(dataDir), committed ? 'new' : 'old', `killed before: ${said.at(-1)}`);
    }
    const aside = (await readdir(dataDir)).filter((name) => name.startsWith('before-restore-'));
    assert.equal(aside.length, step % 3 === 0 ? (committed ? 2 : 1) : committed ? 1 : 0);
  }
  assert.ok(seen.length < MOST_STEPS);
  for (const step of ['unpack', 'check', 'commit', 'move fairlead.db', 'place']) assert.ok(seen.includes(step), step);
});

test('a backup that is killed while it copies and while it sends', async (t) => {
  const { store, dataDir } = await openTestStore(t);
  for (let i = 0; i < 16; i++) await store.settings.set(`ballast ${i}`, Buffer.alloc(1024 * 1024));
  await writeFile(join(dataDir, 'master.key'), 'key\n');
  await store.close();
  for (const moment of ['snapshot', 'send']) {
    const { signal } = await child(t, 'backup', dataDir, moment);
    assert.equal(signal, 'SIGKILL', moment);
    assert.ok((await readdir(dataDir)).includes('backup.tmp'), moment);
    const again = await openStore({ dataDir, clock: systemClock });
    assert.equal((await again.settings.get('ballast 15'))?.length, 1024 * 1024);
    await again.close();
    assert.deepEqual(
      (await readdir(dataDir)).sort(),
      ['fairlead.db', 'fairlead.lock', 'master.key', 'revoked.ndjson'],
      moment,
    );
  }
});
