/** A store of another version: older ones are copied and brought forward, newer ones refused and left as they are. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { sql } from 'kysely';
import { SCHEMA_VERSION } from '../../../../server/store/migrate.ts';
import { copyBeforeUpgrade } from '../../../../server/store/safety-copy.ts';
import { readSchemaState } from '../../../../server/store/schema-state.ts';
import { openStore } from '../../../../server/store/store.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { VERSION } from '../../../../shared/version.ts';
import { oldDatabase } from '../../../support/old-store.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';
import { HOST_IDS, openTestStore, START, StillClock } from './fixture.ts';

const [A] = HOST_IDS;
const COPY = `fairlead.db.before-${VERSION}`;

/** A data directory of the very first schema, with a row in each of its tables. */
async function firstStore(cleanup: Cleanup): Promise<string> {
  const dataDir = join(await tempDir(cleanup, 'store'), 'data');
  await mkdir(dataDir, { mode: 0o700 });
  const database = await oldDatabase(join(dataDir, 'fairlead.db'), 1);
  const insert = (table: string, row: Record<string, unknown>) => {
    const names = Object.keys(row);
    const places = names.map(() => '?').join(', ');
    database.prepare(`insert into ${table} (${names.join(', ')}) values (${places})`).run(...Object.values(row));
  };
  insert('settings', { key: 'k', value: Buffer.from('kept') });
  const machine = { kind: 'native', os: 'linux', arch: 'x64', hostname: 'a', agent_version: '0.0.1' };
  insert('hosts', { id: A, name: 'Shed', name_key: 'shed', ...machine, tags: '["lab"]', created_at: START });
  const life = { not_before: START, not_after: START + 1000, issued_at: START };
  insert('certificates', { serial: 'AA', host_id: A, spki_pin: 'p', ...life, state: 'active', pem: 'PEM' });
  const made = { created_by: 'token:t', created_at: START };
  const used = { expires_at: START + 1, used_at: START, host_id: A, serial: 'AA', spki_pin: 'p' };
  insert('enrollment_tokens', { id: 'e', secret_hash: Buffer.from('h'), tags: '[]', ...made, ...used });
  insert('api_tokens', { id: 't', name: 'ci', secret_hash: Buffer.from('s'), role: 'viewer', ...made });
  const act = { actor: 'token:t', action: 'host.enroll', target: A, result: 'ok' };
  insert('audit', { at: START, ...act, detail: '{"name":"Shed"}' });
  database.close();
  return dataDir;
}

/** The content of a directory, by name. */
async function filesOf(directory: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of (await readdir(directory)).sort()) {
    if (name !== 'fairlead.lock') files[name] = (await readFile(join(directory, name))).toString('base64');
  }
  return files;
}

test('a store of the first schema goes forward with all that is in it', async (t) => {
  const dataDir = await firstStore(t);
  const store = await openStore({ dataDir, clock: new StillClock() });
  t.after(() => store.close());
  assert.equal(String(await store.settings.get('k')), 'kept');
  const host = await store.hosts.get('shed');
  assert.deepEqual([host.id, host.name, host.tags, host.createdAt], [A, 'Shed', ['lab'], START]);
  assert.equal((await store.certificates.latestOf(A))?.serial, 'AA');
  assert.equal((await store.enrollmentTokens.list({})).items[0]?.use?.hostId, A);
  assert.equal((await store.apiTokens.list({})).items[0]?.name, 'ci');
  assert.equal((await store.audit.list({}, {})).items[0]?.action, 'host.enroll');
  const copy = join(dataDir, COPY);
  const upgrade = { fromSchema: 1, toSchema: SCHEMA_VERSION, fromVersion: undefined, copy };
  assert.deepEqual(store.upgrade, upgrade);
});

test('the store from before an upgrade is kept, whole and closed to others', async (t) => {
  const dataDir = await firstStore(t);
  await (await openStore({ dataDir, clock: new StillClock() })).close();
  const copy = join(dataDir, COPY);
  assert.deepEqual(readSchemaState(copy), { schemaVersion: 1, writer: undefined });
  assert.equal((await stat(copy)).mode & 0o777, 0o600);
  const database = new Database(copy);
  t.after(() => database.close());
  assert.equal(database.prepare('select name from hosts').pluck().get(), 'Shed');
  assert.equal(database.pragma('integrity_check', { simple: true }), 'ok');
  const left = (await readdir(dataDir)).filter((name) => /tmp|-(wal|shm)$/.test(name) && !name.startsWith(COPY));
  assert.deepEqual(left, []);
});

test('nothing is copied where there is nothing to change, and the version that uses the store stands in it', async (t) => {
  const { store, dataDir, clock } = await openTestStore(t);
  assert.equal(store.upgrade, undefined);
  await store.close();
  await (await openStore({ dataDir, clock })).close();
  assert.deepEqual(readSchemaState(join(dataDir, 'fairlead.db')), { schemaVersion: SCHEMA_VERSION, writer: VERSION });
  assert.deepEqual(
    (await readdir(dataDir)).filter((name) => name.includes('before')),
    [],
  );
});

test('copies of the last two upgrades are kept, and no more', async (t) => {
  const dataDir = await firstStore(t);
  for (const [index, version] of ['0.0.1', '0.0.2', '0.0.3'].entries()) {
    const file = join(dataDir, `fairlead.db.before-${version}`);
    await writeFile(file, version);
    await utimes(file, index + 1, index + 1);
  }
  await (await openStore({ dataDir, clock: new StillClock() })).close();
  const kept = (await readdir(dataDir)).filter((name) => name.includes('before'));
  assert.deepEqual(kept.sort(), ['fairlead.db.before-0.0.3', COPY].sort());
});

test('an upgrade that was cut off keeps the copy from its beginning; a later one makes a new copy', async (t) => {
  const dataDir = await firstStore(t);
  const file = join(dataDir, 'fairlead.db');
  const begin = () => copyBeforeUpgrade({ dataDir, file, state: readSchemaState(file) });
  await begin();
  // The next start after a crash finds some steps done.
  const database = new Database(file);
  database.prepare('insert into schema_version (version) values (2)').run();
  database.close();
  await begin();
  const copied = () => readSchemaState(join(dataDir, COPY)).schemaVersion;
  assert.equal(copied(), 1);
  // Once this version has used the store, what it finds is another upgrade.
  const used = new Database(file);
  used.prepare("insert into settings (key, value) values ('store.writer', ?)").run(Buffer.from(VERSION));
  used.close();
  await begin();
  assert.equal(copied(), 2);
});

test('whoever went back and worked on has what he did in the next copy', async (t) => {
  const dataDir = await firstStore(t);
  const file = join(dataDir, 'fairlead.db');
  const begin = () => copyBeforeUpgrade({ dataDir, file, state: readSchemaState(file) });
  await begin();
  const database = new Database(file);
  database.prepare("update hosts set name = 'Barn'").run();
  database.close();
  await begin();
  const copy = new Database(join(dataDir, COPY), { readonly: true });
  t.after(() => copy.close());
  assert.equal(copy.prepare('select name from hosts').pluck().get(), 'Barn');
});

test('without room for a copy nothing is changed', async (t) => {
  const dataDir = await firstStore(t);
  const file = join(dataDir, 'fairlead.db');
  const state = readSchemaState(file);
  const before = await filesOf(dataDir);
  await assert.rejects(copyBeforeUpgrade({ dataDir, file, state, freeBytes: () => 5 * 1024 * 1024 }), (error) => {
    assert.ok(isFairleadError(error, 'STORE_FULL'));
    assert.match(error.message, /takes 1\d MiB where 5 are free: nothing was changed, free some space$/);
    return true;
  });
  assert.deepEqual(await filesOf(dataDir), before);
});

test('a store of a newer version is refused by name, and no byte of it is changed', async (t) => {
  const { store, dataDir, clock } = await openTestStore(t);
  await sql`insert into schema_version (version) values (999)`.execute(store.db);
  await store.settings.set('store.writer', Buffer.from('9.9.9'));
  await store.close();
  const before = await filesOf(dataDir);
  await assert.rejects(openStore({ dataDir, clock }), (error) => {
    assert.ok(isFairleadError(error, 'CONFLICT'));
    assert.match(
      error.message,
      /schema version 999, made by the newer fairlead-server 9\.9\.9, .* start 9\.9\.9 again/,
    );
    return true;
  });
  assert.deepEqual(await filesOf(dataDir), before);
});
