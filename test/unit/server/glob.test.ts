import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesGlob } from '../../../server/glob.ts';
import { cpuMs } from '../../support/cpu-time.ts';

test('a star stands for any characters, a question mark for one, all else for itself', () => {
  const fits = [
    ['web', 'web'],
    ['web*', 'web-1'],
    ['*web', 'myweb'],
    ['w?b', 'wab'],
    ['*', ''],
    ['a*b*c', 'aXbYbc'],
    ['[a]', '[a]'],
  ] as const;
  const fails = [
    ['web', 'web1'],
    ['w?b', 'wb'],
    ['a*b', 'ac'],
    ['?', ''],
    ['.', 'x'],
  ] as const;
  for (const [pattern, text] of fits) assert.equal(matchesGlob(pattern, text), true, pattern);
  for (const [pattern, text] of fails) assert.equal(matchesGlob(pattern, text), false, pattern);
});

test('it says what a regular expression says, and is never slow', async () => {
  const piece = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 8 });
  const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 });
  fc.assert(
    fc.property(piece, text, (pattern, given) => {
      const expression = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`);
      assert.equal(matchesGlob(pattern, given), expression.test(given));
    }),
  );
  const hostile = () => assert.equal(matchesGlob(`${'a*'.repeat(120)}b`, 'a'.repeat(255)), false);
  assert.ok((await cpuMs(hostile)) < 200);
});
