/** Lists cut down to some hosts: in full pages, by listed ids and by tags, whatever happens to either. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import type { Kysely } from 'kysely';
import type { HostScope } from '../../../../server/store/host-scope.ts';
import { migrate } from '../../../../server/store/migrate.ts';
import { up as first } from '../../../../server/store/migrations/0001-first.ts';
import { up as tokenScopes } from '../../../../server/store/migrations/0004-token-scopes.ts';
import type { Page, PageRequest } from '../../../../server/store/page.ts';
import type { Schema } from '../../../../server/store/schema.ts';
import { openKysely } from '../../../../server/store/sqlite.ts';
import { defer, tempDir } from '../../../support/tmp.ts';
import { aCertificate, aHost, HOST_IDS, openTestStore } from './fixture.ts';

const [A, B, C] = HOST_IDS;
const scope = (hosts: string[], tags: string[]): HostScope => ({ hosts, tags });

test('hosts in scope come in full pages, in order, each once', async (t) => {
  const { store } = await openTestStore(t);
  const ids = Array.from({ length: 20 }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`);
  for (const [i, id] of ids.entries()) {
    const tags = i % 2 === 0 ? ['even', 'number'] : ['odd'];
    await store.hosts.insert({ ...aHost(id, `h${String(i).padStart(2, '0')}`), tags });
    await store.certificates.insert(aCertificate(`A${i}`, id, i));
  }
  // h04 is both listed and tagged, h05 only listed.
  const some = scope([ids[4] ?? '', ids[5] ?? ''], ['even', 'number', 'nobody']);
  const hosts = await pages(3, (page) => store.hosts.list(page, some));
  assert.deepEqual(
    hosts.map((page) => page.map(({ name }) => name).join()),
    ['h00,h02,h04', 'h05,h06,h08', 'h10,h12,h14', 'h16,h18'],
  );
  const certificates = await pages(4, (page) => store.certificates.list(page, { scope: some }));
  assert.deepEqual(
    certificates.map((page) => page.map(({ serial }) => serial).join()),
    ['A18,A16,A14,A12', 'A10,A8,A6,A5', 'A4,A2,A0'],
  );
  const revoked = await store.certificates.list({}, { state: 'revoked', scope: some });
  assert.deepEqual(revoked.items, []);
});

test('tags that look alike are not the same', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert({ ...aHost(A, 'a'), tags: ['x_y', 'eu/west', '100'] });
  await store.hosts.insert({ ...aHost(B, 'b'), tags: ['xzy', 'EU/west', 'x_yz'] });
  const names = async (...tags: string[]) =>
    (await store.hosts.list({}, scope([], tags))).items.map(({ name }) => name).join();
  assert.equal(await names('x_y'), 'a');
  assert.equal(await names('eu/west'), 'a');
  assert.equal(await names('10'), '');
  assert.equal(await names('x_y', 'xzy'), 'a,b');
});

test('a scope follows the tags that a host gets and loses, and an empty one holds nothing', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert({ ...aHost(A, 'a'), tags: ['lab'] });
  await store.hosts.insert({ ...aHost(B, 'b'), tags: [] });
  const names = async () => (await store.hosts.list({}, scope([], ['lab']))).items.map(({ name }) => name).join();
  assert.equal(await names(), 'a');
  await store.hosts.update(B, { tags: ['lab', 'lab'] });
  await store.hosts.update(A, { tags: ['other'] });
  assert.equal(await names(), 'b');
  await store.hosts.update(B, { name: 'bee' });
  assert.equal(await names(), 'bee');
  await store.hosts.delete(B);
  await store.hosts.insert({ ...aHost(B, 'b'), tags: [] });
  assert.equal(await names(), '');
  await assert.rejects(store.hosts.update(C, { tags: ['lab'] }), { code: 'HOST_NOT_FOUND' });
  await store.hosts.insert({ ...aHost(C, 'c'), tags: [] });
  assert.equal(await names(), '', 'what was refused left nothing');
  assert.deepEqual((await store.hosts.list({}, scope([], []))).items, []);
});

test('names are found for any number of ids', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert(aHost(A, 'a'));
  const ids = [A, A, B, ...Array.from({ length: 1200 }, (_, i) => `x${i}`)];
  assert.deepEqual([...(await store.hosts.names(ids))], [[A, 'a']]);
  assert.equal((await store.hosts.names([])).size, 0);
});

test('a store of before finds its hosts by their tags, and its tokens limited to nothing', async (t) => {
  const database = new Database(join(await tempDir(t, 'migrate'), 'old.db'));
  const db = openKysely<Schema>(database, (cause) => cause as Error);
  defer(t, () => db.destroy());
  await migrate(db, [first]);
  const host = { name: 'a', name_key: 'a', kind: 'native', os: '', arch: '', hostname: '', agent_version: '' };
  const old = db as unknown as Kysely<{ hosts: object; api_tokens: object }>;
  await old
    .insertInto('hosts')
    .values([
      { ...host, id: A, tags: '["lab","eu","lab"]', created_at: 1 },
      { ...host, id: B, name: 'b', name_key: 'b', tags: '[]', created_at: 1 },
    ])
    .execute();
  const token = { id: 't', name: 't', secret_hash: Buffer.alloc(32), role: 'viewer', created_by: 'x', created_at: 1 };
  await old.insertInto('api_tokens').values(token).execute();
  await migrate(db, [first, tokenScopes]);
  const tags = await db.selectFrom('host_tags').selectAll().orderBy('tag').execute();
  assert.deepEqual(tags, [
    { host_id: A, tag: 'eu' },
    { host_id: A, tag: 'lab' },
  ]);
  const row = await db.selectFrom('api_tokens').select(['scope', 'replaced_by']).executeTakeFirst();
  assert.deepEqual(row, { scope: null, replaced_by: null });
});

/** All pages of a list. */
async function pages<T>(limit: number, list: (page: PageRequest) => Promise<Page<T>>): Promise<T[][]> {
  const all: T[][] = [];
  let cursor: string | undefined;
  do {
    const page = await list({ limit, cursor });
    all.push(page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return all;
}
