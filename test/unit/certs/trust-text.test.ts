/** What certs/TRUST.md promises is shown by tests that are there. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const root = new URL('../../../', import.meta.url);
const text = readFileSync(new URL('certs/TRUST.md', root), 'utf8');

/** Everything in brackets, and the last cell of each row of a table that says what it is shown by. */
function citations(): string[] {
  const brackets = [...text.matchAll(/\[([^\]]*)\](?!\()/g)].map(([, inside = '']) => inside);
  const cells = text
    .split('\n\n')
    .filter((part) => /^\|.*\| shown by \|$/m.test(part))
    .flatMap((part) => part.split('\n').filter((line) => line.startsWith('|')))
    .map((line) => line.split('|').at(-2)?.trim() ?? '')
    .filter((cell) => cell !== 'shown by' && cell !== '---');
  return [...brackets, ...cells];
}

const pathOf = (name: string) => `${name.startsWith('test/') ? name : `test/unit/${name}`}.test.ts`;
const names = citations().flatMap((cited) => [...cited.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));

test('each test that is named is a file', () => {
  assert.ok(names.length > 100, 'too few were found: has the form of the tables changed?');
  const missing = [...new Set(names)].filter((name) => !existsSync(new URL(pathOf(name), root)));
  assert.deepEqual(missing, []);
});

test('each promise names a test', () => {
  const unproved = citations().filter((cited) => !cited.includes('`'));
  assert.deepEqual(unproved, []);
});

test('no test is named outside of brackets and tables, where nobody would look whether it is there', () => {
  const all = [...text.matchAll(/`((?:test\/)?(?:agent|server|shared|certs|e2e|fault|property)\/[a-z0-9/-]+)`/g)];
  const loose = all.map(([, name = '']) => name).filter((name) => !names.includes(name));
  assert.deepEqual(loose, []);
});
