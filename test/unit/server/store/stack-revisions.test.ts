/** The table of what was deployed as stacks: numbers, what is newest, and what goes with its host. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { NewRevision } from '../../../../server/store/stack-revisions.ts';
import { aHost, HOST_IDS, openTestStore, START } from './fixture.ts';

const [A, B] = HOST_IDS;
const WEB = { hostId: A, stack: 'web' };

async function fixture(t: TestContext) {
  const { store } = await openTestStore(t);
  for (const [index, id] of [A, B].entries()) await store.hosts.insert(aHost(id, `host-${index}`));
  const insert = (id: string, more: Partial<NewRevision> = {}) =>
    store.transaction(({ stackRevisions }) =>
      stackRevisions.insert({
        ...{ ...WEB, id, action: 'deploy', source: undefined, envNames: ['A'], size: 9 },
        ...{ createdBy: 'ann', createdAt: START, compose: `# ${id}`, env: 'sealed' },
        ...more,
      }),
    );
  return { store, rows: store.stackRevisions, insert };
}

test('numbers count in each stack; what goes in comes out', async (t) => {
  const { rows, insert } = await fixture(t);
  assert.deepEqual([await insert('r1'), await insert('r2'), await insert('x1', { stack: 'other' })], [1, 2, 1]);
  await rows.finish('r1', { state: 'failed', at: START + 5, code: 'TIMEOUT', detail: 'too late' });
  const found = await rows.find(WEB, 1);
  assert.deepEqual(found, {
    ...{ ...WEB, number: 1, id: 'r1', action: 'deploy', source: undefined, envNames: ['A'], size: 9 },
    ...{ createdBy: 'ann', createdAt: START, compose: '# r1', env: 'sealed' },
    ...{ state: 'failed', finishedAt: START + 5, code: 'TIMEOUT', detail: 'too late' },
  });
  assert.equal(await rows.find(WEB, 3), undefined);
  const page = await rows.list(WEB, { limit: 1 });
  assert.deepEqual(
    page.items.map(({ number }) => number),
    [2],
  );
  const next = await rows.list(WEB, { limit: 1, cursor: page.nextCursor });
  assert.deepEqual(
    next.items.map(({ number }) => number),
    [1],
  );
  assert.equal(next.nextCursor, undefined);
});

test('the newest one, and the newest that was deployed, of each stack of a host', async (t) => {
  const { rows, insert } = await fixture(t);
  for (const id of ['r1', 'r2', 'r3']) await insert(id);
  await insert('x1', { stack: 'other' });
  await insert('b1', { hostId: B });
  await rows.finish('r1', { state: 'deployed', at: START });
  await rows.finish('r2', { state: 'deployed', at: START });
  assert.equal((await rows.newest(WEB, ['deployed', 'failed']))?.id, 'r2');
  assert.equal(await rows.newest({ hostId: B, stack: 'web' }, ['deployed']), undefined);
  assert.deepEqual((await rows.latest(A)).map(({ id }) => id).sort(), ['r2', 'r3', 'x1']);
  assert.equal(await rows.countStacks(A), 2);
  assert.equal(await rows.interruptAll(START + 9), 3);
  assert.equal((await rows.find(WEB, 3))?.state, 'interrupted');
});

test('revisions go by themselves, with their stack and with their host', async (t) => {
  const { store, rows, insert } = await fixture(t);
  for (const id of ['r1', 'r2', 'r3']) await insert(id);
  await insert('x1', { stack: 'other' });
  await rows.delete(WEB, [1, 2]);
  assert.deepEqual(
    (await rows.all(WEB)).map(({ id }) => id),
    ['r3'],
  );
  await rows.deleteStack(WEB);
  assert.deepEqual(await rows.all(WEB), []);
  await store.hosts.delete(A);
  assert.deepEqual(await rows.latest(A), []);
});
