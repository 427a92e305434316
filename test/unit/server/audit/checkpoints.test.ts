/** What is signed of the audit log and when, and what the server notices of a log that was changed. */
import assert from 'node:assert/strict';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sql } from 'kysely';
import { waitFor } from '../../../support/wait.ts';
import { aCa, openTrail } from './trail.ts';

const heads = (store: Awaited<ReturnType<typeof openTrail>>['store']) =>
  store.auditCheckpoints.heads(0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, 1000);

test('the log is signed at most a minute after a row, after 1,000 rows, and at the stop', async (t) => {
  const { store, add, clock, stop, dataDir } = await openTrail(t);
  assert.deepEqual(await heads(store), []);
  await add(2);
  clock.advance(59_999);
  assert.deepEqual(await heads(store), []);
  clock.advance(1);
  const [first] = await waitFor('a checkpoint', async () => (await heads(store)).length > 0 && heads(store));
  assert.deepEqual([first?.id, first?.count, first?.at], [2, 2, clock.now()]);
  clock.advance(600_000);
  assert.equal((await heads(store)).length, 1);
  await add(1000);
  await waitFor('a checkpoint of the rows', async () => (await heads(store)).length === 2);
  await add(1);
  await stop();
  const file = JSON.parse(await readFile(join(dataDir, 'audit-head.json'), 'utf8'));
  assert.deepEqual([file.checkpoint.id, file.isStopped], [1003, true]);
  assert.equal((await stat(join(dataDir, 'audit-head.json'))).mode & 0o777, 0o600);
});

test('a server that was stopped or killed finds its log again without a word', async (t) => {
  const first = await openTrail(t);
  await first.add(3);
  await first.trail.verify();
  await first.add(2);
  await first.kill();
  const second = await openTrail(t, { dataDir: first.dataDir });
  await second.add(1);
  await second.stop();
  const third = await openTrail(t, { dataDir: first.dataDir });
  assert.deepEqual([...second.logged, ...third.logged], []);
  assert.equal(third.trail.isIntact, true);
  // Started, killed with a row that nothing was signed over yet, started again.
  await third.add(1);
  await third.kill();
  const fourth = await openTrail(t, { dataDir: first.dataDir });
  assert.deepEqual(fourth.logged, []);
  const end = await fourth.trail.verify();
  assert.ok(!('kind' in end), JSON.stringify(end));
  assert.deepEqual([end.rows, end.signed.id], [7, 7]);
});

/** Changes the store of a stopped server and starts it again. @returns what it then says */
async function afterChange(t: import('node:test').TestContext, change: string[], how: 'stop' | 'kill' = 'stop') {
  const before = await openTrail(t);
  await before.add(9);
  await before.trail.verify();
  for (const statement of how === 'kill' ? change : []) await sql.raw(statement).execute(before.store.db);
  await before[how]();
  if (how === 'stop') {
    const { default: Database } = await import('better-sqlite3');
    const database = new Database(join(before.dataDir, 'fairlead.db'));
    for (const statement of change) database.exec(statement);
    database.close();
  }
  const after = await openTrail(t, { dataDir: before.dataDir });
  const { items } = await after.audit.list({}, { action: 'audit.broken' });
  return { ...after, why: items.map(({ detail }) => String(detail['why'])) };
}

test('what was changed below a signature is said at the next start, in the log and in a row', async (t) => {
  const cases: [string[], RegExp][] = [
    [['delete from audit where id > 6'], /row 9 was signed and is missing/],
    [['delete from audit where id > 6', 'delete from audit_checkpoints'], /row 9 was signed and is missing/],
    [
      ["update audit set hash = 'x' where id = 9", 'delete from audit_checkpoints'],
      /row 9 is not the one that was signed/,
    ],
    [
      ["insert into audit select 10, at, actor, address, action, target, result, detail, 'x' from audit where id = 9"],
      /written while the server was stopped/,
    ],
    [["update audit_checkpoints set signature = 'AAAA'"], /checkpoint in the store is forged/],
  ];
  for (const [change, why] of cases) {
    const { why: said, logged, trail, store } = await afterChange(t, change);
    assert.match(said.join('; '), why);
    assert.match(logged.join(), /not the one that was signed/);
    assert.equal(trail.isIntact, false);
    // It goes on signing what comes, or nothing after the break would count.
    assert.ok((await store.auditCheckpoints.last('head'))?.id ?? 0 >= 7);
  }
});

test('rows that are changed while the server runs are not signed in silence', async (t) => {
  const { store, add, trail, audit } = await openTrail(t);
  await add(5);
  await trail.verify();
  await add(5);
  await sql`update audit set actor = 'eve' where id = 8`.execute(store.db);
  const end = await trail.verify();
  assert.deepEqual('kind' in end && [end.kind, end.id], ['changed', 8]);
  assert.equal(trail.isIntact, false);
  assert.match(String((await audit.list({}, { action: 'audit.broken' })).items[0]?.detail['why']), /row 8/);
});

test('a head file that is damaged or gone is no reason not to start', async (t) => {
  const first = await openTrail(t);
  await first.add(3);
  await first.stop();
  const file = join(first.dataDir, 'audit-head.json');
  for (const spoil of [() => writeFile(file, '{"checkpoint": 1'), () => rm(file)]) {
    await spoil();
    const next = await openTrail(t, { dataDir: first.dataDir });
    assert.equal(next.trail.isIntact, true);
    await next.stop();
  }
});

test('a new CA signs the log anew, and speaks for what the one before has signed', async (t) => {
  const opened = await openTrail(t);
  await opened.add(3);
  await opened.trail.verify();
  const next = await aCa();
  Object.assign(opened.authority, { ca: next, trust: () => ({ pem: next.certPem }) });
  const end = await opened.trail.verify();
  assert.ok(!('kind' in end), JSON.stringify(end));
  assert.equal(end.signed.signer, next.fingerprint);
});

test('checkpoints are bounded: old ones are thinned out', async (t) => {
  const { store, add, trail } = await openTrail(t);
  await add(1);
  await trail.verify();
  const one = await store.auditCheckpoints.last('head');
  assert.ok(one);
  for (let i = 0; i < 10; i++) await store.auditCheckpoints.insert({ ...one, at: i });
  await store.auditCheckpoints.thin(11);
  assert.equal((await heads(store)).length, 11);
  await store.auditCheckpoints.thin(8);
  const left = await heads(store);
  assert.equal(left.length, 9);
  assert.deepEqual(
    left.slice(-6).map(({ at }) => at),
    [4, 5, 6, 7, 8, 9],
  );
});
