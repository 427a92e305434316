/** Bytes gathered from pieces: all that there is room for, in order, whatever the pieces are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Gathered } from '../../../shared/gathered.ts';

test('what is gathered is the beginning of what came, up to the limit', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 20 });
  fc.assert(
    fc.property(pieces, fc.nat(20_000), (given, maxBytes) => {
      const gathered = new Gathered(maxBytes);
      let came = 0;
      for (const piece of given) {
        came += piece.byteLength;
        assert.equal(gathered.add(piece), came <= maxBytes || piece.byteLength === 0);
      }
      assert.ok(gathered.bytes().equals(Buffer.concat(given).subarray(0, maxBytes)));
      assert.equal(gathered.length, Math.min(came, maxBytes));
    }),
    { numRuns: 50 },
  );
});

test('a piece may be changed by its owner once it is added; nothing is left of what was forgotten', () => {
  const gathered = new Gathered(10);
  const piece = Buffer.from('abc');
  gathered.add(piece);
  piece.fill(0);
  assert.equal(gathered.bytes().toString(), 'abc');
  gathered.clear();
  assert.equal(gathered.length, 0);
  assert.ok(gathered.add(Buffer.from('0123456789')), 'there is room for as much as at first');
  assert.equal(gathered.bytes().toString(), '0123456789');
});
