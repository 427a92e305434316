import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Turns } from '../../../../server/routes/turns.ts';

const never = new AbortController().signal;

test('so many go on at once for each key, and the others follow in order', async () => {
  const turns = new Turns(2);
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const go = async (name: string, key = 'a') => {
    const end = await turns.take(key, never);
    begun.push(name);
    ends.set(name, end);
  };
  const all = ['1', '2', '3', '4'].map((name) => go(name));
  all.push(go('other', 'b'));
  await setImmediate();
  assert.deepEqual(begun, ['1', '2', 'other']);
  ends.get('2')?.();
  ends.get('2')?.();
  await setImmediate();
  assert.deepEqual(begun, ['1', '2', 'other', '3'], 'a turn is given back once');
  ends.get('1')?.();
  await Promise.all(all);
  for (const end of ends.values()) end();
  await go('5');
  assert.equal(begun.at(-1), '5');
});

test('who leaves while waiting takes no turn from those behind', async () => {
  const turns = new Turns(1);
  const end = await turns.take('a', never);
  const leaving = new AbortController();
  const left = turns.take('a', leaving.signal);
  const next = turns.take('a', never);
  leaving.abort(new Error('gone'));
  await assert.rejects(left, /gone/);
  await assert.rejects(turns.take('a', leaving.signal), /gone/);
  end();
  (await next)();
});
