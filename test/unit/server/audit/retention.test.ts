/** Old rows go, the chain stays verifiable, and nothing goes that a receiver is still to get. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'kysely';
import { attestersIn } from '../../../../certs/attestation.ts';
import { Retention } from '../../../../server/audit/retention.ts';
import { checkExport } from '../../../../server/cli/audit-check.ts';
import type { ChainPosition } from '../../../../shared/audit-chain.ts';
import { NOTHING, type OpenTrail, openTrail } from './trail.ts';

const DAY_MS = 86_400_000;
const policy = { ...NOTHING, keepMs: 10 * DAY_MS };

/** Rows of twelve days, one a day. */
async function aged(t: import('node:test').TestContext): Promise<OpenTrail> {
  const opened = await openTrail(t, { policy });
  for (let day = 0; day < 12; day++) {
    await opened.add(1);
    // By the wall clock alone, so that no pass comes by itself.
    opened.clock.setWallClock(opened.clock.now() + DAY_MS);
  }
  return opened;
}

async function idsOf({ store }: OpenTrail): Promise<number[]> {
  return (await store.audit.read(0, 1000, 1000)).map(({ id }) => id);
}

async function* bytes(chunks: AsyncIterable<string>) {
  for await (const chunk of chunks) yield Buffer.from(chunk);
}

test('rows go when they are old enough, and what is left is verifiable, here and elsewhere', async (t) => {
  const opened = await aged(t);
  const { trail, store, clock, authority } = opened;
  await trail.dropOld();
  assert.deepEqual(await idsOf(opened), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
  const [row] = (await opened.audit.list({}, { action: 'audit.retention' })).items;
  assert.deepEqual([row?.actor, row?.result], ['system', 'ok']);
  clock.setWallClock(clock.now() + 3 * DAY_MS);
  await trail.dropOld();
  const end = await trail.verify();
  assert.ok(!('kind' in end), JSON.stringify(end));
  assert.deepEqual([end.anchor?.id, end.anchor?.count, end.head.count], [5, 5, 14]);
  const keys = attestersIn(authority.trust().pem);
  const exported = await checkExport(bytes(trail.export()), { keys, expectHead: end.anchor?.hash });
  assert.deepEqual(exported.head, end.head);
  const { rows } = await sql<{ n: number }>`select count(*) as n from audit_checkpoints where kind = 'anchor'`.execute(
    store.db,
  );
  assert.equal(rows[0]?.n, 1);
  // Whoever cuts off more than was dropped is found.
  await store.audit.dropThrough(6);
  const cut = await trail.verify();
  assert.deepEqual('kind' in cut && [cut.kind, cut.id], ['missing', 7]);
});

test('the clock drops rows by itself, and the last row stays whatever its age', async (t) => {
  const opened = await openTrail(t, { policy });
  await opened.add(3);
  opened.clock.setWallClock(opened.clock.now() + 100 * DAY_MS);
  opened.clock.advance(60 * 60_000);
  await opened.trail.dropOld();
  assert.deepEqual((await idsOf(opened))[0], 3);
  await opened.stop();
  const restarted = await openTrail(t, { dataDir: opened.dataDir, policy });
  assert.equal(restarted.trail.isIntact, true);
  const end = await restarted.trail.verify();
  assert.ok(!('kind' in end), JSON.stringify(end));
});

test('rows that were changed are not dropped: they are evidence', async (t) => {
  const opened = await aged(t);
  await opened.trail.verify();
  await sql`update audit set actor = 'eve' where id = 1`.execute(opened.store.db);
  await opened.trail.dropOld();
  assert.equal((await idsOf(opened))[0], 1);
  assert.equal(opened.trail.isIntact, false);
});

test('an anchor that is forged ends the dropping', async (t) => {
  const opened = await aged(t);
  await opened.trail.dropOld();
  await sql`update audit_checkpoints set signature = 'AAAA' where kind = 'anchor'`.execute(opened.store.db);
  opened.clock.setWallClock(opened.clock.now() + 5 * DAY_MS);
  await opened.trail.dropOld();
  assert.equal((await idsOf(opened))[0], 3);
  assert.equal(opened.trail.isIntact, false);
});

test('a receiver that is behind holds rows back, but not for ever, and then everybody is told', async (t) => {
  const opened = await aged(t);
  const { store, audit, clock } = opened;
  const losses: number[] = [];
  const receivers = [{ name: 'webhook:x', position: 1, lose: (id: number) => void losses.push(id) }];
  const errors: unknown[] = [];
  const log = { error: (line: unknown) => void errors.push(line), info: () => undefined, warn: () => undefined };
  await opened.trail.verify();
  const last = await store.auditCheckpoints.last('head');
  assert.ok(last);
  const checkpoints = {
    make: async () => await store.auditCheckpoints.last('head'),
    anchor: async (position: ChainPosition) => ({ ...last, ...position, kind: 'anchor' as const }),
    report: async () => assert.fail('nothing was changed'),
  };
  const retention = new Retention({
    ...{ store, audit, checkpoints, receivers, clock, log },
    check: async () => 'good',
    keepMs: 10 * DAY_MS,
  });
  await retention.pass();
  assert.equal((await idsOf(opened))[0], 2);
  clock.setWallClock(clock.now() + 10 * DAY_MS);
  await retention.pass();
  assert.deepEqual(losses, [2]);
  assert.equal(errors.length, 1);
  const lost = (await audit.list({}, { action: 'audit.retention', result: 'failed' })).items[0];
  assert.deepEqual(lost?.detail, { receiver: 'webhook:x', rows: 1, to: 2 });
  await retention.close();
});
