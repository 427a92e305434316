/** How long agents take to come back after a stop. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { returnSpreadMs } from '../../../../server/mesh/return-spread.ts';
import { RECONNECT_MIN_MS } from '../../../../shared/limits.ts';

test('the more agents, the longer the spread, within bounds', () => {
  assert.deepEqual([0, 1, 1_500].map(returnSpreadMs), [3_000, 3_000, 3_000]);
  assert.equal(returnSpreadMs(5_000), 10_000);
  assert.deepEqual([10_000, 1_000_000].map(returnSpreadMs), [20_000, 20_000]);
});

test('10,000 agents are back within 30 s of a restart that takes up to 5 s, with the delay that each adds', () => {
  assert.ok(returnSpreadMs(10_000) + RECONNECT_MIN_MS + 5_000 <= 30_000);
});
