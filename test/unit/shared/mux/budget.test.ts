import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../../../shared/mux/budget.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

/** Tokens that can be taken now. */
function available(budget: Budget, now: number): number {
  let taken = 0;
  while (taken < 100_000 && budget.take(now)) taken += 1;
  return taken;
}

test('a budget holds its burst and no more', () => {
  const clock = new FakeClock();
  const budget = new Budget(10, 25, clock.monotonic());
  assert.equal(available(budget, clock.monotonic()), 25);
  clock.advance(3_600_000);
  assert.equal(available(budget, clock.monotonic()), 25);
});

test('tokens come back at the rate, in fractions', () => {
  const clock = new FakeClock();
  const budget = new Budget(10, 25, clock.monotonic());
  available(budget, clock.monotonic());
  clock.advance(99);
  assert.equal(budget.take(clock.monotonic()), false);
  clock.advance(1);
  assert.equal(budget.take(clock.monotonic()), true);
  assert.equal(budget.take(clock.monotonic()), false);
  clock.advance(1_000);
  assert.equal(available(budget, clock.monotonic()), 10);
});

test('asking in vain does not put off the next token', () => {
  const clock = new FakeClock();
  const budget = new Budget(1, 1, clock.monotonic());
  assert.equal(budget.take(clock.monotonic()), true);
  for (let ms = 1; ms < 1000; ms += 1) {
    clock.advance(1);
    assert.equal(budget.take(clock.monotonic()), false, `after ${ms} ms`);
  }
  clock.advance(2);
  assert.equal(budget.take(clock.monotonic()), true);
});

test('tokens given back count at once, but never beyond the burst', () => {
  const clock = new FakeClock();
  const budget = new Budget(1, 5, clock.monotonic());
  available(budget, clock.monotonic());
  budget.give(2);
  assert.equal(available(budget, clock.monotonic()), 2);
  budget.give(1_000_000);
  assert.equal(available(budget, clock.monotonic()), 5);
});
