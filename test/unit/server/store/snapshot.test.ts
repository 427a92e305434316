/** Snapshots of a store in use: whole, of one moment, and gone without a trace when they are called off. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { SCHEMA_VERSION } from '../../../../server/store/migrate.ts';
import { openStore } from '../../../../server/store/store.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { openTestStore, StillClock } from './fixture.ts';

const never = new AbortController().signal;

test('a snapshot under writes is the store of one moment, and the loop stays free', async (t) => {
  const { store, dataDir } = await openTestStore(t);
  for (let i = 0; i < 24; i++) await store.settings.set(`ballast ${i}`, Buffer.alloc(1024 * 1024, i));
  let isWriting = true;
  let written = 0;
  let turns = 0;
  const turn = () => {
    turns += 1;
    if (isWriting) setImmediate(turn);
  };
  setImmediate(turn);
  // Both rows of a pair or none: a snapshot of several moments would have one of them.
  const writing = (async () => {
    for (; isWriting; written++) {
      await store.transaction(async (tables) => {
        await tables.settings.set('left', Buffer.from(String(written)));
        const detail = { pair: written };
        const row = { at: 0, actor: 'a', address: undefined, action: 'x', target: undefined, detail };
        await tables.audit.append([{ ...row, result: 'ok' }]);
        await new Promise(setImmediate);
        await tables.settings.set('right', Buffer.from(String(written)));
      });
    }
  })();
  const file = join(dataDir, 'copy.db');
  const before = written;
  const snapshot = await store.snapshot(file, never);
  const during = written - before;
  isWriting = false;
  await writing;
  const bytes = await readFile(file);
  assert.deepEqual(snapshot, {
    schemaVersion: SCHEMA_VERSION,
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  });
  assert.ok(during > 0, 'nothing was written meanwhile');
  assert.ok(turns > 20, `the loop had ${turns} turns`);
  const copy = new Database(file);
  t.after(() => copy.close());
  assert.equal(copy.pragma('integrity_check', { simple: true }), 'ok');
  const value = (key: string) =>
    Number(copy.prepare('select value from settings where key = ?').pluck().get(key) ?? -1);
  const rows = copy.prepare('select count(*) from audit').pluck().get() as number;
  assert.equal(value('left'), value('right'));
  assert.equal(rows, value('left') + 1);
});

test('a snapshot that is called off rejects with the reason, and the store goes on', async (t) => {
  const { store, dataDir } = await openTestStore(t);
  for (let i = 0; i < 64; i++) await store.settings.set(`ballast ${i}`, Buffer.alloc(1024 * 1024));
  const gone = new AbortController();
  const reason = new FairleadError('CANCELLED', 'the client went away');
  const file = join(dataDir, 'copy.db');
  const taking = store.snapshot(file, gone.signal);
  setImmediate(() => gone.abort(reason));
  await assert.rejects(taking, reason);
  await rm(file, { force: true });
  await assert.rejects(store.snapshot(file, gone.signal), reason);
  await store.settings.set('after', Buffer.alloc(1));
  await store.close();
  const size = (await stat(join(dataDir, 'fairlead.db'))).size;
  assert.ok(size > 64 * 1024 * 1024);
  assert.deepEqual(
    (await readdir(dataDir)).sort(),
    ['fairlead.db', 'fairlead.lock', 'revoked.ndjson'],
    'a reader was left behind',
  );
});

test('damage in the store is told when a snapshot is taken, not when it is needed', async (t) => {
  const { store, dataDir } = await openTestStore(t);
  for (let i = 0; i < 40; i++) await store.settings.set(`ballast ${i}`, Buffer.alloc(100_000, 1));
  await store.close();
  const file = join(dataDir, 'fairlead.db');
  const bytes = await readFile(file);
  // The b-tree pages of the settings, and nothing that is read at start for a file this large.
  bytes.fill(0xff, 200_000, 220_000);
  const other = await mkdtemp(join(dataDir, 'other-'));
  await writeFile(join(other, 'damaged.db'), bytes);
  const { takeSnapshot } = await import('../../../../server/store/snapshot.ts');
  await assert.rejects(takeSnapshot(join(other, 'damaged.db'), join(other, 'copy.db'), never), {
    code: 'SQLITE_CORRUPT',
  });
});

test('a store that cannot be copied says so in the words of the store', async (t) => {
  const { store, dataDir } = await openTestStore(t);
  await assert.rejects(store.snapshot(join(dataDir, 'no', 'such', 'directory'), never), {
    code: 'STORE_UNAVAILABLE',
    message: /cannot be used/,
  });
});

test('what a killed process left behind is gone after the next start', async (t) => {
  const { store, dataDir } = await openTestStore(t);
  await store.close();
  const { makeTemporary } = await import('../../../../server/store/temporary.ts');
  for (const name of ['backup.tmp', 'restore.tmp'] as const) {
    await writeFile(join(makeTemporary(dataDir, name), 'secret'), 'x');
  }
  const again = await openStore({ dataDir, clock: new StillClock() });
  t.after(() => again.close());
  assert.ok(!(await readdir(dataDir)).some((name) => name.endsWith('.tmp')));
});
