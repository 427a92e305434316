/** Revisions in a real store: sealed, bounded, and settled when the host was lost. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Secrets } from '../../../../server/authority/secrets.ts';
import { MAX_REVISIONS, Revisions } from '../../../../server/stacks/revisions.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { aHost, HOST_IDS, openTestStore } from '../store/fixture.ts';

const [A] = HOST_IDS;
const WEB = { hostId: A, stack: 'web' };
const BY = { action: 'deploy', by: 'ann' } as const;

async function fixture(t: TestContext) {
  const { store, clock } = await openTestStore(t);
  await store.hosts.insert(aHost(A, 'shed'));
  const secrets = new Secrets(async () => Buffer.alloc(32, 7));
  const revisions = new Revisions({ store, secrets, clock });
  const deployed = async (compose: string, env = {}) => {
    return await revisions.finish(await revisions.begin(WEB, { compose, env }, BY));
  };
  return { store, revisions, deployed };
}

test('variables rest sealed, come back whole, and show in no diff', async (t) => {
  const { store, revisions, deployed } = await fixture(t);
  await deployed('a: 1\n', { TOKEN: 'hunter2', SAME: 's3cret' });
  await deployed('a: 2\n', { TOKEN: 'hunter3', SAME: 's3cret', NEW: 'n' });
  const rows = JSON.stringify([await store.stackRevisions.find(WEB, 1), await store.stackRevisions.find(WEB, 2)]);
  assert.doesNotMatch(rows, /hunter|s3cret/);
  assert.deepEqual(await revisions.content(WEB, 1), { compose: 'a: 1\n', env: { TOKEN: 'hunter2', SAME: 's3cret' } });
  assert.equal(
    await revisions.diff(WEB, 1, 2),
    `--- revision 1
+++ revision 2
@@ -1 +1 @@
-a: 1
+a: 2
--- revision 1, variables
+++ revision 2, variables
@@ -1,2 +1,3 @@
+NEW=[redacted]
 SAME=[redacted]
-TOKEN=[redacted]
+TOKEN=[redacted] (another value)
`,
  );
  assert.equal(await revisions.diff(WEB, 2, 2), '');
  // One revision's variables cannot be put in the place of another's.
  const { env } = (await store.stackRevisions.find(WEB, 1)) ?? {};
  await store.db
    .updateTable('stack_revisions')
    .set({ env: env ?? null })
    .where('number', '=', 2)
    .execute();
  await assert.rejects(revisions.content(WEB, 2), { code: 'VALIDATION', message: /cannot be opened/ });
  await assert.rejects(revisions.content(WEB, 9), { code: 'NOT_FOUND', message: /no revision 9/ });
  await assert.rejects(revisions.content({ hostId: A, stack: 'x' }, 1), { message: /there is no stack x/ });
});

test('old revisions go, but the current one stays whatever fails after it', async (t) => {
  const { store, revisions, deployed } = await fixture(t);
  await deployed('the one that runs');
  for (let n = 0; n < MAX_REVISIONS + 3; n += 1) {
    const begun = await revisions.begin(WEB, { compose: 'broken', env: {} }, BY);
    await revisions.finish(begun, new FairleadError('DOCKER_ERROR', 'no'));
  }
  const numbers = (await store.stackRevisions.all(WEB)).map(({ number }) => number);
  assert.equal(numbers.length, MAX_REVISIONS + 1);
  assert.deepEqual([numbers[0], numbers.at(-1), (await revisions.current(WEB))?.number], [MAX_REVISIONS + 4, 1, 1]);
});

test('what was interrupted is settled by what the host remembers of it, and of nothing else', async (t) => {
  const { revisions } = await fixture(t);
  const begun = await revisions.begin(WEB, { compose: 'a', env: {} }, BY);
  const lost = await revisions.finish(begun, new FairleadError('STREAM_INTERRUPTED', 'the session ended'));
  assert.equal(lost.state, 'interrupted');
  const change = { kind: 'stack.deploy', state: 'done' } as const;
  await revisions.settle(WEB, { ...change, id: 'another' });
  await revisions.settle(WEB, { ...change, id: begun.id, state: 'running' });
  assert.equal((await revisions.current(WEB))?.state, 'interrupted');
  await revisions.settle(WEB, { ...change, id: begun.id });
  assert.equal((await revisions.current(WEB))?.state, 'deployed');
  const second = await revisions.begin(WEB, { compose: 'b', env: {} }, BY);
  assert.equal(await revisions.interruptAll(), 1, 'as after a server was killed');
  await revisions.settle(WEB, { ...change, id: second.id, state: 'failed', code: 'DOCKER_ERROR', message: 'no space' });
  const [newest] = (await revisions.list(WEB, {})).items;
  assert.deepEqual([newest?.state, newest?.code, newest?.detail], ['failed', 'DOCKER_ERROR', 'no space']);
});
