/** Line breaks that Compose's reader of YAML takes for some and ours does not: keys could hide behind them in a comment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkCompose } from '../../../../shared/compose/compose-file.ts';

for (const [name, lineBreak] of [
  ['CR', '\r'],
  ['NEL', '\u0085'],
  ['LS', '\u2028'],
  ['PS', '\u2029'],
] as const) {
  test(`a file with ${name} is refused with its line`, () => {
    const text = `services:\n  one:\n    image: x #${lineBreak}    env_file: /etc/shadow\n`;
    assert.throws(() => checkCompose(text), { code: 'VALIDATION', message: /line 3: it has a line break/ });
  });
}

test('CR LF is as good as LF', () => {
  assert.deepEqual(checkCompose('services:\r\n  one:\r\n    image: x # said\r\n').services, ['one']);
});
