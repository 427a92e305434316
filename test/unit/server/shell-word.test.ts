/** Words of lines that people paste into a shell. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { shellWord } from '../../../server/shell-word.ts';

test('a shell reads each word back as it was, and plain ones stand as they are', () => {
  for (const plain of ['https://mesh.example.org:8440', 'a@b', '192.0.2.10']) assert.equal(shellWord(plain), plain);
  for (const text of ['https://[::1]:8440', "it's", '$(id)', 'a b', '*', '~', '']) {
    const read = execFileSync('bash', ['-O', 'failglob', '-c', `printf %s ${shellWord(text)}`], { encoding: 'utf8' });
    assert.equal(read, text);
  }
});
