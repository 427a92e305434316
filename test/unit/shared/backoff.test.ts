import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../../../shared/backoff.ts';

test('the ceiling doubles up to its maximum and starts anew after a reset', () => {
  const backoff = new Backoff({ minMs: 100, maxMs: 500, random: () => 1 });
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next(), backoff.next()], [100, 200, 400, 500]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test('the whole range below the ceiling is used', () => {
  const values = [0, 0.25, 0.75];
  const backoff = new Backoff({ minMs: 100, maxMs: 100, random: () => values.shift() ?? 0 });
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [0, 25, 75]);
});

test('nextAtLeastCeiling lies between the ceiling and twice that', () => {
  const values = [0, 0.5];
  const backoff = new Backoff({ minMs: 100, maxMs: 10_000, random: () => values.shift() ?? 0 });
  assert.deepEqual([backoff.nextAtLeastCeiling(), backoff.nextAtLeastCeiling()], [100, 300]);
});

test('a thousand failures do not overflow', () => {
  const backoff = new Backoff({ minMs: 1000, maxMs: 60_000, random: () => 1 });
  for (let failure = 0; failure < 1000; failure += 1) backoff.next();
  assert.equal(backoff.next(), 60_000);
});
