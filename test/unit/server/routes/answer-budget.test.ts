/** How much of hosts' answers may be held. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AnswerBudget, type HeldAnswer } from '../../../../server/routes/answer-budget.ts';
import {
  LIST_ITEM_BYTES,
  MAX_ANSWER_BYTES,
  MAX_HELD_ANSWERS,
  MAX_HELD_BYTES,
  MAX_HELD_BYTES_OF_HOST,
  MAX_LIST_BYTES,
  MAX_LIST_ITEMS,
} from '../../../../server/routes/limits.ts';

const MIB = 1024 * 1024;

/** Takes a MiB after the other. @returns how many MiB there was room for */
function fill(held: HeldAnswer, hostId: string): number {
  for (let taken = 0; ; taken++) {
    const excess = held.take(hostId, MIB - LIST_ITEM_BYTES);
    if (excess === undefined) continue;
    assert.equal(excess.code, 'OVERLOADED');
    return taken;
  }
}

test('one host may answer so many bytes and so many items', () => {
  const budget = new AnswerBudget();
  const held = budget.begin();
  assert.equal(fill(held, 'a'), MAX_LIST_BYTES / MIB);
  let items = 0;
  while (held.take('b', 2) === undefined) items++;
  assert.equal(items, MAX_LIST_ITEMS);
});

test('an answer of many hosts is bounded, and what a failed one gave makes room', () => {
  const held = new AnswerBudget().begin();
  const hosts = MAX_ANSWER_BYTES / MAX_LIST_BYTES;
  for (let i = 0; i < hosts; i++) assert.equal(fill(held, `h${i}`), MAX_LIST_BYTES / MIB);
  assert.equal(fill(held, 'one more'), 0);
  held.drop('h0');
  held.drop('h0');
  assert.equal(fill(held, 'one more'), MAX_LIST_BYTES / MIB);
});

test('one host cannot take the place of all, nor can all take more than there is', () => {
  const budget = new AnswerBudget();
  const ofOne = [1, 2, 3].map(() => fill(budget.begin(), 'hostile'));
  assert.equal(
    ofOne.reduce((sum, taken) => sum + taken),
    MAX_HELD_BYTES_OF_HOST / MIB,
  );
  const others = Array.from({ length: 12 }, (_, i) => fill(budget.begin(), `h${i}`));
  assert.equal(
    others.reduce((sum, taken) => sum + taken),
    (MAX_HELD_BYTES - MAX_HELD_BYTES_OF_HOST) / MIB,
  );
  assert.equal(budget.bytes, MAX_HELD_BYTES);
});

test('what is released is free again, once', () => {
  const budget = new AnswerBudget();
  const kept = budget.begin();
  assert.equal(kept.take('a', 100), undefined);
  const held = budget.begin();
  fill(held, 'a');
  fill(held, 'b');
  held.release();
  held.release();
  assert.equal(budget.bytes, 100 + LIST_ITEM_BYTES);
  assert.equal(held.take('a', 1)?.code, 'OVERLOADED', 'a late answer of a host is not held');
  kept.release();
  assert.equal(budget.bytes, 0);
});

test('answers at once are bounded', () => {
  const budget = new AnswerBudget();
  const held = Array.from({ length: MAX_HELD_ANSWERS }, () => budget.begin());
  assert.throws(
    () => budget.begin(),
    (error: { code?: string; retryAfterSeconds?: number }) =>
      error.code === 'OVERLOADED' && (error.retryAfterSeconds ?? 0) > 0,
  );
  held[0]?.release();
  assert.ok(budget.begin());
});
