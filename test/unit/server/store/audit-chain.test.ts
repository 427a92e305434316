/** The migration that makes a chain of an audit log that was a plain table, and lists of a long log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Database from 'better-sqlite3';
import { up as first } from '../../../../server/store/migrations/0001-first.ts';
import { up as auditChain } from '../../../../server/store/migrations/0002-audit-chain.ts';
import type { Schema } from '../../../../server/store/schema.ts';
import { openKysely } from '../../../../server/store/sqlite.ts';
import { GENESIS, nextPosition } from '../../../../shared/audit-chain.ts';
import { openTestStore, START } from './fixture.ts';

const row = (n: number) => ({
  at: START + n,
  actor: 'a',
  address: undefined,
  action: n % 2 === 0 ? 'host.update' : 'login',
  target: n % 3 === 0 ? `h${n}/c` : undefined,
  result: 'ok' as const,
  detail: { n },
});

test('rows that were there before are chained as they stand, however many', async () => {
  const db = openKysely<Schema>(new Database(':memory:'), (cause) => cause);
  await first(db as never);
  for (let n = 0; n < 1201; n++) {
    const { detail, ...fields } = { ...row(n), address: '192.0.2.1', target: n % 2 === 0 ? 'ä/b' : null };
    // One is missing, as after a rolled back insert in other databases.
    if (n !== 7)
      await db
        .insertInto('audit')
        .values({ ...fields, id: n + 1, detail: JSON.stringify(detail) } as never)
        .execute();
  }
  await auditChain(db as never);
  let position = GENESIS;
  for (const each of await db.selectFrom('audit').selectAll().orderBy('id').execute()) {
    const next = nextPosition(position, each);
    assert.ok(!('message' in next), JSON.stringify(next));
    position = next;
  }
  assert.deepEqual([position.id, position.count], [1201, 1200]);
  await db.destroy();
});

test('a search over a long log finds what fits, page by page', async (t) => {
  const { store } = await openTestStore(t);
  await store.transaction(async (tables) => {
    await tables.audit.append(Array.from({ length: 12_000 }, (_, n) => row(n)));
  });
  const found: number[] = [];
  let cursor: string | undefined;
  do {
    const filter = { action: 'host.', targets: ['h0', 'h6', 'h11994', 'nothing'] };
    const page = await store.audit.list({ limit: 2, cursor }, filter);
    found.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  assert.deepEqual(found, [11_995, 7, 1]);
  const far = Buffer.from(JSON.stringify([Number.MAX_SAFE_INTEGER, ''])).toString('base64url');
  assert.equal((await store.audit.list({ limit: 1, cursor: far })).items[0]?.id, 12_000);
  assert.deepEqual((await store.audit.list({}, { since: START + 11_999 })).items.length, 1);
  assert.deepEqual((await store.audit.list({}, { until: START + 1, action: 'host.update' })).items.length, 1);
});
