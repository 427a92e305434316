/** Opening, locking, privacy, transactions and damage. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sql } from 'kysely';
import { migrate, SCHEMA_VERSION } from '../../../../server/store/migrate.ts';
import { openStore } from '../../../../server/store/store.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { tempDir } from '../../../support/tmp.ts';
import { aCertificate, aHost, HOST_IDS, openTestStore, StillClock } from './fixture.ts';

const [A, B] = HOST_IDS;
const modeOf = async (path: string) => (await stat(path)).mode & 0o777;

test('what the store makes is closed to others', async (t) => {
  const { store, dataDir } = await openTestStore(t);
  await store.hosts.insert(aHost(A, 'a'));
  assert.equal(await modeOf(dataDir), 0o700);
  const files = await readdir(dataDir);
  assert.ok(files.includes('fairlead.db') && files.includes('fairlead.db-wal'));
  for (const file of files) assert.equal(await modeOf(join(dataDir, file)), 0o600, file);
});

test('an existing directory is closed if it is empty or a store, and left alone otherwise', async (t) => {
  const dir = await tempDir(t, 'store');
  const empty = join(dir, 'empty');
  const other = join(dir, 'other');
  await mkdir(empty);
  await mkdir(other);
  await chmod(empty, 0o755);
  await chmod(other, 0o755);
  await writeFile(join(other, 'passphrase'), 'x');
  for (const dataDir of [empty, other]) await (await openStore({ dataDir, clock: new StillClock() })).close();
  assert.equal(await modeOf(empty), 0o700);
  assert.equal(await modeOf(other), 0o755);
  assert.equal(await modeOf(join(other, 'fairlead.db')), 0o600);
  await chmod(empty, 0o755);
  await chmod(join(empty, 'fairlead.db'), 0o644);
  await (await openStore({ dataDir: empty, clock: new StillClock() })).close();
  assert.equal(await modeOf(empty), 0o700);
  assert.equal(await modeOf(join(empty, 'fairlead.db')), 0o600);
});

test('a directory in use is refused, and free again after close', async (t) => {
  const { store, dataDir, clock } = await openTestStore(t);
  await assert.rejects(openStore({ dataDir, clock }), (error) => {
    assert.ok(isFairleadError(error, 'CONFLICT'));
    assert.equal(error.message, `data directory ${dataDir} is in use by another fairlead-server`);
    return true;
  });
  await store.hosts.insert(aHost(A, 'kept'));
  await store.close();
  await store.close();
  const again = await openStore({ dataDir, clock });
  t.after(() => again.close());
  assert.equal((await again.hosts.get('kept')).id, A);
});

test('a directory is in use by another process until that is killed', async (t) => {
  const dataDir = join(await tempDir(t, 'store'), 'data');
  const url = (path: string) => new URL(`../../../../${path}`, import.meta.url).href;
  const program = `
    const { openStore } = await import(${JSON.stringify(url('server/store/store.ts'))});
    const { systemClock } = await import(${JSON.stringify(url('shared/clock.ts'))});
    const store = await openStore({ dataDir: ${JSON.stringify(dataDir)}, clock: systemClock });
    await store.settings.set('left', Buffer.from('behind'));
    console.log('open');
    setInterval(() => store, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  await assert.rejects(openStore({ dataDir, clock: new StillClock() }), { code: 'CONFLICT' });
  child.kill('SIGKILL');
  await ended;
  const store = await openStore({ dataDir, clock: new StillClock() });
  t.after(() => store.close());
  assert.equal(String(await store.settings.get('left')), 'behind');
});

test('a transaction stands whole or not at all', async (t) => {
  const { store } = await openTestStore(t);
  const work = store.transaction(async (tables) => {
    await tables.hosts.insert(aHost(A, 'a'));
    await tables.certificates.insert(aCertificate('AA', A));
    throw new Error('enough');
  });
  await assert.rejects(work, /enough/);
  assert.equal(await store.hosts.find(A), undefined);
  assert.equal(await store.certificates.find('AA'), undefined);
  await store.transaction(async (tables) => {
    await tables.hosts.insert(aHost(A, 'a'));
    await tables.certificates.insert(aCertificate('AA', A));
  });
  assert.equal((await store.certificates.latestOf(A))?.serial, 'AA');
});

test('a transaction sees nothing of its neighbours, which wait their turn', async (t) => {
  const { store } = await openTestStore(t);
  const gate = Promise.withResolvers<void>();
  const failing = store.transaction(async (tables) => {
    await tables.hosts.insert(aHost(A, 'a'));
    await gate.promise;
    throw new Error('rolled back');
  });
  const outsider = store.hosts.insert(aHost(B, 'b'));
  gate.resolve();
  await assert.rejects(failing, /rolled back/);
  await outsider;
  assert.deepEqual(
    (await store.hosts.list({})).items.map((host) => host.name),
    ['b'],
  );
});

test('a query beside its own transaction throws instead of waiting for ever', async (t) => {
  const { store } = await openTestStore(t);
  await store.transaction(async () => {
    await assert.rejects(store.hosts.find('a'), /outside of the transaction/);
  });
  assert.equal(await store.hosts.find('a'), undefined);
});

test('a value that is set once stays', async (t) => {
  const { store } = await openTestStore(t);
  assert.equal(await store.settings.get('k'), undefined);
  assert.equal(String(await store.settings.setOnce('k', Buffer.from('1'))), '1');
  assert.equal(String(await store.settings.setOnce('k', Buffer.from('2'))), '1');
  await store.transaction(async ({ settings }) => {
    assert.equal(String(await settings.setOnce('k', Buffer.from('3'))), '1');
  });
  await store.settings.set('k', Buffer.from('4'));
  assert.equal(String(await store.settings.get('k')), '4');
  await store.settings.delete('k');
  assert.equal(await store.settings.get('k'), undefined);
});

test('a store of a newer version is refused and left as it is', async (t) => {
  const { store, dataDir, clock } = await openTestStore(t);
  await sql`insert into schema_version (version) values (999)`.execute(store.db);
  await store.close();
  await assert.rejects(openStore({ dataDir, clock }), { code: 'CONFLICT', message: /schema version 999/ });
  await assert.rejects(openStore({ dataDir, clock }), { code: 'CONFLICT', message: /newer/ });
});

test('a migration that fails leaves nothing of itself', async (t) => {
  const { store } = await openTestStore(t);
  const done = Array.from({ length: SCHEMA_VERSION }, () => async () => undefined);
  const failing = async (db: typeof store.db) => {
    await db.schema.createTable('half').addColumn('a', 'text').execute();
    throw new Error('broken step');
  };
  await assert.rejects(migrate(store.db, [...done, failing as never]), /broken step/);
  await assert.rejects(sql`select * from half`.execute(store.db), /no such table/);
  await migrate(store.db, [
    ...done,
    async (db) => {
      await db.schema.createTable('whole').addColumn('a', 'text').execute();
    },
  ]);
  await sql`select * from whole`.execute(store.db);
});

test('a file that is no database, or a damaged one, is named as such and not touched', async (t) => {
  const { store, dataDir, clock } = await openTestStore(t);
  for (let i = 0; i < 200; i++) await store.settings.set(`key ${i}`, Buffer.alloc(500, i));
  await store.close();
  const file = join(dataDir, 'fairlead.db');
  const bytes = await readFile(file);
  const middle = Buffer.from(bytes);
  middle.fill(0xa5, 4096 * 4, 4096 * 8);
  for (const damaged of [Buffer.from('this is not a database, but long enough to look at'.repeat(20)), middle]) {
    await writeFile(file, damaged);
    await assert.rejects(openStore({ dataDir, clock }), (error) => {
      assert.ok(isFairleadError(error, 'STORE_UNAVAILABLE'), String(error));
      assert.match(error.message, /is damaged \(SQLITE_(NOTADB|CORRUPT)\).*restore/);
      return true;
    });
    assert.deepEqual(await readFile(file), damaged);
  }
  await writeFile(file, bytes);
  await (await openStore({ dataDir, clock })).close();
});

test('a data directory that cannot be one is refused in one sentence', async (t) => {
  const dir = await tempDir(t, 'store');
  await writeFile(join(dir, 'file'), '');
  await assert.rejects(openStore({ dataDir: join(dir, 'file'), clock: new StillClock() }), {
    code: 'STORE_UNAVAILABLE',
    message: /cannot be used: EEXIST/,
  });
});

test('check says whether the store can be written', async (t) => {
  const { store, clock } = await openTestStore(t);
  await store.check();
  await sql`pragma query_only = on`.execute(store.db);
  await store.check();
  clock.pass(2_000);
  await assert.rejects(store.check(), { code: 'STORE_UNAVAILABLE' });
});
