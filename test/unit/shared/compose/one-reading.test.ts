/** What readers of YAML take in different ways: a file that looks harmless to us must be so to every Compose. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkCompose } from '../../../../shared/compose/compose-file.ts';

const service = (...lines: string[]) =>
  `services:\n  web:\n    image: x\n${lines.map((line) => `    ${line}\n`).join('')}`;

for (const [name, text] of [
  [
    'two merges, of which the last counts for PyYAML',
    service('<<: {env_file: null}', '<<: {env_file: /etc/os-release}'),
  ],
  ['a merge by tag beside another', service('<<: {env_file: null}', '!!merge foo: {env_file: /etc/os-release}')],
  ['a key with a tag', service('!!str env_file: /etc/os-release')],
  ['a key that is an alias', `x: &key env_file\n${service('*key : /etc/os-release')}`],
  ['a key that is a mapping', service('? {a: b}', ': c')],
] as const) {
  test(`refused: ${name}`, () => {
    assert.throws(() => checkCompose(text), { code: 'VALIDATION', message: /at line \d+/ });
  });
}

test('what may not stand in a service may not stand there with nothing either', () => {
  assert.throws(() => checkCompose(service('env_file: null')), { code: 'VALIDATION', message: /env_file/ });
});

test('one merge, of an alias or of a list, and tags of values are taken', () => {
  const text = `x-base: &base {restart: always}\nx-more: &more {tty: true}\n${service('<<: [*base, *more]', 'command: !!str 5')}`;
  assert.deepEqual(checkCompose(text).services, ['web']);
});
