/** Values that are handed on: each waits for its taker, and nobody waits for one who has left. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Handoff } from '../../../shared/handoff.ts';

test('what is given is taken in order, and its giver waits until then', async () => {
  const handoff = new Handoff<number>();
  let given = 0;
  const giving = (async () => {
    for (; given < 3; given++) await handoff.give(given);
    handoff.end();
  })();
  await turn();
  assert.equal(given, 0);
  const taken: number[] = [];
  for await (const value of handoff.values()) taken.push(value);
  assert.deepEqual(taken, [0, 1, 2]);
  await giving;
});

test('whoever stops taking, or ends it, lets the giver go on', async () => {
  const left = new Handoff<number>();
  const first = left.give(1);
  for await (const value of left.values()) {
    assert.equal(value, 1);
    break;
  }
  await first;
  await left.give(2);
  const ended = new Handoff<number>();
  const waiting = ended.give(1);
  ended.end();
  await waiting;
  assert.deepEqual(await Array.fromAsync(ended.values()), []);
});
