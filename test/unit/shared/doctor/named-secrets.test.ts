/** What is called a secret: taken out to its end, and nothing of the JSON around it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scrub } from '../../../../shared/doctor/support-bundle.ts';
import { cpuMs } from '../../../support/cpu-time.ts';

/** `text` as it stands in so many texts of JSON. */
function nested(text: string, depth: number): string {
  return depth === 0 ? text : JSON.stringify({ text: nested(text, depth - 1), end: true });
}

function unnested(json: string, depth: number): string {
  if (depth === 0) return json;
  const { text, end } = JSON.parse(json);
  assert.equal(end, true);
  return unnested(text, depth - 1);
}

const CASES = [
  ['a value without its end', 'it says password="hunter2 x', 'it says password="[secret]'],
  ['one with a quote in it', '{"password":"hunter\\"2\\\\","b":1}', '{"password":"[secret]","b":1}'],
  ['one that is a part of JSON', '{"password":", hunter2","b":1}', '{"password":"[secret]","b":1}'],
  ['a number', '{"password": 12345, "b": 1}', '{"password": "[secret]", "b": 1}'],
  ['a name without a value', 'it knows no token=', 'it knows no token='],
  ['a single quote alone', "it says password='hunter2 x", "it says password='[secret]'"],
  ['quotes in single quotes', `password='hunter"2' x`, `password='[secret]' x`],
] as const;

for (const [what, text, clean] of CASES) {
  test(`${what} is taken out, however many texts of JSON it stands in`, () => {
    for (const depth of [0, 1, 2, 3]) assert.equal(unnested(scrub(nested(text, depth)), depth), clean, `${depth}`);
  });
}

const piece = fc.constantFrom('password=', '"token":', 'secret: ', '"', "'", '\\', ' ', ',', ':', '{', '}', '\n', 'x');
const text = fc.array(piece, { maxLength: 10 }).map((pieces) => pieces.join(''));

test('JSON stays JSON, whatever stands in its texts', () => {
  const property = fc.property(text, fc.integer({ min: 1, max: 3 }), (any, depth) => {
    unnested(scrub(nested(any, depth)), depth);
  });
  fc.assert(property, { numRuns: 2_000 });
});

test('nothing is left of the text of a key that is called a secret', () => {
  const property = fc.property(text, fc.integer({ min: 0, max: 3 }), (any, depth) => {
    const json = unnested(scrub(nested(JSON.stringify({ password: `${any}hunter2`, b: 1 }), depth)), depth);
    assert.deepEqual(JSON.parse(json), { password: '[secret]', b: 1 });
  });
  fc.assert(property, { numRuns: 2_000 });
});

test('it takes no longer than in proportion to the text', async () => {
  for (const unit of [
    'password="',
    'password=\\"',
    "password='",
    'password=\\',
    'password="\\\n',
    'password=\\\\\\"x',
  ]) {
    const text = unit.repeat(100_000);
    assert.ok((await cpuMs(() => scrub(text))) < 5_000, unit);
  }
});
