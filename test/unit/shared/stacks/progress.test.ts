/** What is passed on of the lines of Compose. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { masker } from '../../../../shared/compose/env.ts';
import { StackProgress } from '../../../../shared/messages/stack.ts';
import { ProgressLines } from '../../../../shared/stacks/progress.ts';
import { fits } from '../../../../shared/validate.ts';

async function shown(line: string, env: Record<string, string>) {
  const sent: StackProgress[] = [];
  const lines = new ProgressLines(async (progress) => void sent.push(progress), masker(env));
  lines.add('up', line);
  await lines.sent();
  return { sent: sent[0] ?? assert.fail(), reason: lines.reason };
}

test('a secret shows no part of itself where a long line is cut', async () => {
  for (const before of [3_990, 4_080, 4_095]) {
    const { sent, reason } = await shown(`${'x'.repeat(before)}hunter2-and-more-of-it`, {
      A: 'hunter2-and-more-of-it',
    });
    assert.ok(fits(StackProgress, sent), 'it is no longer than a message takes');
    assert.doesNotMatch(sent.line + reason, /hun/);
  }
});

test('a line that masks make longer fits all the same', async () => {
  const { sent } = await shown('abcd'.repeat(1_024), { A: 'abcd' });
  assert.ok(fits(StackProgress, sent));
});
