import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDuration } from '../../../shared/duration.ts';

test('a duration is a whole number with a unit', () => {
  assert.deepEqual(
    ['0', '1s', '90s', '30m', '12h', '7d'].map(parseDuration),
    [0, 1_000, 90_000, 1_800_000, 43_200_000, 604_800_000],
  );
  for (const text of ['', '1', '-1s', '1.5h', '1 h', 's', '1w', '1S', '12345678s', '1s ']) {
    assert.equal(parseDuration(text), undefined, text);
  }
});
