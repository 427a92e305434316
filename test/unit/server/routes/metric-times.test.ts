/** What questions about metrics may give for a time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTime } from '../../../../server/routes/metric-times.ts';

const NOW = 1_790_000_000;

test('a time so long ago that no date tells it counts as the beginning', () => {
  assert.equal(readTime('from', '-1h30m', NOW), NOW - 5400);
  assert.equal(readTime('from', '-999999999w', NOW), 0);
  assert.throws(() => readTime('from', '-1y', NOW), { code: 'VALIDATION', message: /^from is no time/ });
});
