/** What of somebody else's text reaches a terminal. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { CliIo } from '../../../server/cli/io.ts';
import { printJson } from '../../../server/cli/output.ts';
import { jsonLine, printable, printableLines } from '../../../shared/printable.ts';

const CONTROLS = String.fromCodePoint(
  ...Array.from({ length: 0xa0 }, (_, code) => code).filter((c) => c < 32 || c > 126),
);

test('no control character is left of a text, and lines are left of one with lines', () => {
  assert.equal(printable(`a${CONTROLS}b`), `a${'�'.repeat(CONTROLS.length)}b`);
  assert.equal(printableLines('a\nb\tc'), 'a\nb�c');
});

test('JSON means what it meant, and no control character is in it', async () => {
  const value = { name: CONTROLS, é: [1, null] };
  const stdout = new PassThrough();
  await printJson({ stdout } as unknown as CliIo, value);
  stdout.end();
  for (const json of [await text(stdout), jsonLine(value)]) {
    assert.doesNotMatch(json.replaceAll('\n', ''), /\p{Cc}/u);
    assert.deepEqual(JSON.parse(json), value);
    assert.ok(json.endsWith('\n'));
  }
});
