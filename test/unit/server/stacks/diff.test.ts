/** Unified diffs: those of `diff -u`, and such that they can be applied. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { unifiedDiff } from '../../../../server/stacks/diff.ts';
import { cpuMs } from '../../../support/cpu-time.ts';

const diff = (a: string[], b: string[]) =>
  unifiedDiff(a.map((l) => `${l}\n`).join(''), b.map((l) => `${l}\n`).join(''), ['a', 'b']);

test('changes with their context, as diff -u writes them', () => {
  const before = Array.from({ length: 20 }, (_, n) => `line ${n + 1}`);
  const after = [...before.slice(0, 2), 'changed', ...before.slice(3, 17), ...before.slice(18), 'more'];
  assert.equal(
    diff(before, after),
    `--- a
+++ b
@@ -1,6 +1,6 @@
 line 1
 line 2
-line 3
+changed
 line 4
 line 5
 line 6
@@ -15,6 +15,6 @@
 line 15
 line 16
 line 17
-line 18
 line 19
 line 20
+more
`,
  );
  assert.equal(diff(before, before), '');
  assert.equal(diff([], ['a']), '--- a\n+++ b\n@@ -0,0 +1 @@\n+a\n');
  assert.equal(diff(['a'], []), '--- a\n+++ b\n@@ -1 +0,0 @@\n-a\n');
});

/** What patch does. */
function apply(text: readonly string[], patch: string): string[] {
  const out: string[] = [];
  let at = 0;
  for (const line of patch.split('\n').slice(2, -1)) {
    const head = /^@@ -(\d+)(?:,(\d+))? /.exec(line);
    if (head !== null) {
      const start = Number(head[1]) - (head[2] === '0' ? 0 : 1);
      out.push(...text.slice(at, start));
      at = start;
    } else if (line.startsWith('+')) {
      out.push(line.slice(1));
    } else {
      assert.equal(text[at], line.slice(1));
      if (line.startsWith(' ')) out.push(line.slice(1));
      at += 1;
    }
  }
  return [...out, ...text.slice(at)];
}

test('a diff applied to the old text gives the new one', () => {
  const lines = fc.array(fc.constantFrom('a', 'b', 'c', 'd', ''), { maxLength: 40 });
  fc.assert(
    fc.property(lines, lines, (a, b) => {
      const patch = diff(a, b);
      assert.deepEqual(patch === '' ? a : apply(a, patch), b);
    }),
    { numRuns: 500 },
  );
});

test('large texts that have nothing in common take no time', async () => {
  const a = Array.from({ length: 30_000 }, (_, n) => `a${n}`);
  const b = Array.from({ length: 30_000 }, (_, n) => `b${n}`);
  assert.ok((await cpuMs(() => assert.deepEqual(apply(a, diff(a, b)), b))) < 5_000);
});
