/** No bytes bring the DER reader down, and what it accepts is DER: an independent writer gives the same bytes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Element, readDer } from '../../certs/der.ts';
import { isFairleadError } from '../../shared/errors.ts';

/** A value as a tree: what an element is made of before it has lengths. */
type Tree = { tag: number; parts: Tree[] } | { tag: number; bytes: Uint8Array };

/** X.690 8.1.3.5 and 10.1, written for the test. */
function lengthOf(size: number): number[] {
  if (size < 128) return [size];
  const digits: number[] = [];
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return [0x80 + digits.length, ...digits];
}

function write(tree: Tree): Buffer {
  const content = 'parts' in tree ? Buffer.concat(tree.parts.map(write)) : Buffer.from(tree.bytes);
  return Buffer.concat([Buffer.from([tree.tag, ...lengthOf(content.length)]), content]);
}

/** Octet strings, UTF-8 strings and primitive context tags hold any bytes. */
const primitive = fc.record({ tag: fc.constantFrom(4, 12, 0x80, 0x86), bytes: fc.uint8Array({ maxLength: 300 }) });
const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', maxDepth: 8 },
    primitive,
    fc.record({ tag: fc.constantFrom(0x30, 0x31, 0xa0, 0xa3), parts: fc.array(tie('tree'), { maxLength: 5 }) }),
  ),
}));

/** The element for the bytes, or undefined if they are refused as they should be. */
function read(bytes: Uint8Array): Element | undefined {
  try {
    return readDer(Buffer.from(bytes));
  } catch (error) {
    assert.ok(isFairleadError(error, 'VALIDATION'), String(error));
    assert.match(error.message, /^it has|^it is/);
    return undefined;
  }
}

test('any bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      const element = read(bytes);
      if (element !== undefined) assert.deepEqual(element.raw, Buffer.from(bytes));
    }),
    { numRuns: 2000 },
  );
});

test('bytes that look like DER are read or refused', () => {
  const octet = fc.constantFrom(
    0x30,
    0x31,
    0xa0,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x80,
    0x81,
    0x82,
    0x84,
    0,
    1,
    2,
    3,
    0xff,
  );
  fc.assert(
    fc.property(fc.array(octet, { maxLength: 60 }), (octets) => {
      const element = read(Uint8Array.from(octets));
      if (element !== undefined) assert.equal(element.raw.length, octets.length);
    }),
    { numRuns: 5000 },
  );
});

test('whatever is written as DER is read', () => {
  fc.assert(
    fc.property(tree, (value) => {
      const bytes = write(value);
      assert.deepEqual(read(bytes)?.raw, bytes);
    }),
  );
});

test('written DER that is cut or followed by anything is refused', () => {
  fc.assert(
    fc.property(tree, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 5 }), (value, cut, more) => {
      const bytes = write(value);
      assert.equal(read(bytes.subarray(0, cut % bytes.length)), undefined);
      assert.equal(read(Buffer.concat([bytes, more])), undefined);
    }),
  );
});

test('a length written in any longer form is refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 1, max: 4 }), (content, octets) => {
      const shortest = lengthOf(content.length);
      const size = Buffer.alloc(4);
      size.writeUInt32BE(content.length);
      const digits = [...size.subarray(4 - octets)];
      fc.pre(content.length < 256 ** octets && digits.length + 1 > shortest.length);
      assert.equal(read(Buffer.from([4, 0x80 + octets, ...digits, ...content])), undefined);
    }),
  );
});
