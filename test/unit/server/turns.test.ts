import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { SlowTurns, TURN_WAIT_MS, Turns } from '../../../server/turns.ts';
import { FakeClock } from '../../support/fake-clock.ts';

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

test('one caller has no more turns than its share, and the others at the host have some, too', async () => {
  const turns = new SlowTurns({ what: 'pulls', ofCaller: 1, ofHost: 2, waiting: 8 }, new FakeClock());
  const first = await turns.take({ hostId: 'h', caller: 'ann' }, never);
  const begun: string[] = [];
  const go = async (caller: string) => {
    const end = await turns.take({ hostId: 'h', caller }, never);
    begun.push(caller);
    return end;
  };
  const second = go('ann');
  const other = await turns.take({ hostId: 'h', caller: 'bob' }, never);
  const elsewhere = await turns.take({ hostId: 'i', caller: 'ann' }, never);
  const third = go('cat');
  await setImmediate();
  assert.deepEqual(begun, []);
  other();
  await third;
  first();
  await second;
  assert.deepEqual(begun, ['cat', 'ann']);
  elsewhere();
});

test('a turn is waited for for a while, by some; then it is refused, and no place is lost', async () => {
  const clock = new FakeClock();
  const turns = new SlowTurns({ what: 'pulls', ofCaller: 2, ofHost: 1, waiting: 2 }, clock);
  const key = { hostId: 'h', caller: 'ann' };
  const end = await turns.take(key, never);
  const late = turns.take(key, never);
  const patient = turns.take(key, never, 2 * TURN_WAIT_MS);
  await assert.rejects(turns.take(key, never), {
    code: 'OVERLOADED',
    message: /pulls take turns: at most 1 .*2 of yours wait/,
  });
  const refused = assert.rejects(late, { code: 'OVERLOADED', message: /no turn within 20 s/, retryAfterSeconds: 30 });
  clock.advance(TURN_WAIT_MS);
  await refused;
  end();
  (await patient)();
  const leaving = new AbortController();
  const held = await turns.take(key, never);
  const left = turns.take(key, leaving.signal);
  leaving.abort(new Error('gone'));
  await assert.rejects(left, /gone/);
  held();
  (await turns.take(key, never))();
});
