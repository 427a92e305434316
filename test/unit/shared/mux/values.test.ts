import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { isFairleadError } from '../../../../shared/errors.ts';
import { decodeValue, encodeValue } from '../../../../shared/mux/values.ts';

const LIMITS = { bytes: 1000, depth: 4, nodes: 50 };
const invalid = (text: RegExp) => (error: unknown) =>
  isFairleadError(error, 'MESSAGE_INVALID') && text.test(error.message);

test('what is encoded is decoded', () => {
  for (const value of [null, true, 0, -1, 2 ** 53 - 1, 1.5, '', 'é🙂', [1, [2]], { a: { b: [] } }]) {
    assert.deepEqual(decodeValue(encodeValue(value, LIMITS, 'x'), LIMITS, 'x'), value);
  }
});

test('absent fields are not sent', () => {
  assert.deepEqual(decodeValue(encodeValue({ a: undefined, b: 1 }, LIMITS, 'x'), LIMITS, 'x'), { b: 1 });
});

test('the sender refuses what its peer would refuse, and names it', () => {
  const cycle: unknown[] = [];
  cycle.push(cycle);
  const own = JSON.parse('{"__proto__":1}') as unknown;
  const refused: [value: unknown, text: RegExp][] = [
    [[[[[[1]]]]], /nests deeper than 4/],
    [cycle, /MessagePack/],
    [Array(50).fill(0), /more than 50 values/],
    ['x'.repeat(998), /takes 1001 bytes, and the limit is 1000/],
    [new Date(), /extension/],
    [{ data: Uint8Array.of(1) }, /binary/],
    [own, /__proto__/],
    [12n, /MessagePack/],
    [Symbol('x'), /MessagePack/],
  ];
  for (const [value, text] of refused) assert.throws(() => encodeValue(value, LIMITS, 'the test'), invalid(text));
  assert.throws(() => encodeValue(12n, LIMITS, 'the test'), invalid(/^the test/));
  assert.equal(encodeValue('x'.repeat(997), LIMITS, 'x').byteLength, 1000);
});

test('the receiver refuses it too', () => {
  for (const value of [[[[[[1]]]]], Array(50).fill(0), new Date()]) {
    assert.throws(() => decodeValue(encode(value), LIMITS, 'the test'), invalid(/^the test/));
  }
  assert.throws(() => decodeValue(Buffer.of(0xc0, 0xc0), LIMITS, 'x'), invalid(/bytes follow/));
  assert.throws(() => decodeValue(new Uint8Array(0), LIMITS, 'x'), invalid(/ends/));
});

test('a failure leaves nothing behind that the next value would see', () => {
  for (let round = 0; round < 3; round += 1) {
    assert.throws(() => decodeValue(Buffer.of(0x82, 0xa1, 0x61, 0x93, 1), LIMITS, 'x'));
    assert.throws(() => encodeValue([{ a: 1 }, 12n], LIMITS, 'x'));
    assert.deepEqual(decodeValue(encodeValue([{ a: 1 }], LIMITS, 'x'), LIMITS, 'x'), [{ a: 1 }]);
  }
});

test('broken UTF-8 is no reason to fail', () => {
  for (const text of [Buffer.of(0xff, 0xfe, 0xf0), Buffer.alloc(300, 0xe2), Buffer.of(0xed, 0xa0, 0x80)]) {
    const bytes = Buffer.concat([Buffer.of(0xda, 0, 0), text]);
    bytes.writeUInt16BE(text.byteLength, 1);
    assert.equal(typeof decodeValue(bytes, LIMITS, 'x'), 'string');
  }
});
