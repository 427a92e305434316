import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import { Once } from '../../../shared/once.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const KEEP_MS = 10 * 60_000;

function setUp(maxOutcomes?: number) {
  const clock = new FakeClock();
  const undone = (error: unknown) => isFairleadError(error, 'DOCKER_UNREACHABLE');
  const once = new Once({ clock, undone, ...(maxOutcomes === undefined ? {} : { maxOutcomes }) });
  let acts = 0;
  const act = async () => {
    acts++;
  };
  return { clock, once, act, acts: () => acts };
}

test('a key acts once, for repeats at the same time and later', async () => {
  const { once, act, acts } = setUp();
  await Promise.all([once.run('k', 'start c', act), once.run('k', 'start c', act)]);
  await once.run('k', 'start c', act);
  assert.equal(acts(), 1);
  await once.run('other', 'start c', act);
  assert.equal(acts(), 2);
});

test('repeats share a failure too', async () => {
  const { once } = setUp();
  let acts = 0;
  const fail = async () => {
    acts++;
    throw new FairleadError('CONFLICT', 'is paused');
  };
  await assert.rejects(once.run('k', 'kill c', fail), (error) => isFairleadError(error, 'CONFLICT'));
  await assert.rejects(once.run('k', 'kill c', fail), (error) => isFairleadError(error, 'CONFLICT'));
  assert.equal(acts, 1);
});

test('after a failure that certainly did nothing the key is free', async () => {
  const { once, act, acts } = setUp();
  const fail = () => Promise.reject(new FairleadError('DOCKER_UNREACHABLE', 'no socket'));
  await assert.rejects(once.run('k', 'start c', fail));
  await once.run('k', 'start c', act);
  assert.equal(acts(), 1);
});

test('a key that stands for another call is refused', async () => {
  const { once, act, acts } = setUp();
  await once.run('k', 'start c', act);
  await assert.rejects(once.run('k', 'stop c', act), (error) => isFairleadError(error, 'CONFLICT'));
  assert.equal(acts(), 1);
});

test('outcomes are kept for their time and then forgotten', async () => {
  const { clock, once, act, acts } = setUp();
  await once.run('k', 'start c', act);
  clock.advance(KEEP_MS - 1);
  await once.run('k', 'start c', act);
  assert.equal(acts(), 1);
  clock.advance(1);
  await once.run('k', 'start c', act);
  assert.equal(acts(), 2);
});

test('no more than the most are kept, and the oldest go first', async () => {
  const { once, act, acts } = setUp(3);
  for (const key of ['a', 'b', 'c', 'd', 'e']) await once.run(key, 'start c', act);
  assert.equal(once.size, 3);
  await once.run('e', 'start c', act);
  assert.equal(acts(), 5);
  await once.run('a', 'start c', act);
  assert.equal(acts(), 6);
});

test('a repeat gets the result of the first, and what results take is bounded', async () => {
  const clock = new FakeClock();
  const once = new Once({ clock, undone: () => false, maxResultChars: 100 });
  let acts = 0;
  const make = async () => ({ id: ++acts, text: 'x'.repeat(40) });
  assert.deepEqual(await once.run('a', 'create', make), await once.run('a', 'create', make));
  assert.equal(acts, 1);
  await once.run('b', 'create', make);
  assert.equal(once.size, 1, 'the first has gone, as both are more than is kept');
  assert.equal((await once.run('b', 'create', make)).id, 2);
  assert.equal((await once.run('a', 'create', make)).id, 3);
  clock.advance(KEEP_MS);
  for (const key of ['c', 'd']) await once.run(key, 'start', async () => undefined);
  await once.run('e', 'create', make);
  assert.equal(once.size, 3, 'what was forgotten takes no room any more');
});
