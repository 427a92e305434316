import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepRecent } from '../../../server/keep-recent.ts';

test('a million keys never make a map larger than its bound, and those used last stay', () => {
  const map = new Map<string, number>();
  for (let n = 0; n < 1_000_000; n++) {
    keepRecent(map, `key ${n}`, n, 1000);
    if (n % 500 === 0) keepRecent(map, 'often', n, 1000);
    if (map.size > 1000) assert.fail(`${map.size} entries`);
  }
  assert.ok(map.has('often') && map.has('key 999999'));
  assert.ok(!map.has('key 0'));
});
