import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newSerial, normalizeSerial, parseSerial } from '../../../certs/serial.ts';
import { isFairleadError } from '../../../shared/errors.ts';

test('a new serial is positive, of 16 bytes, and in its normal form', () => {
  const serials = Array.from({ length: 500 }, newSerial);
  for (const serial of serials) {
    assert.match(serial, /^[4-7][0-9A-F]{31}$/);
    assert.equal(normalizeSerial(serial), serial);
  }
  assert.equal(new Set(serials).size, serials.length);
});

test('all 126 random bits vary', () => {
  let ones = 0n;
  let zeros = 0n;
  for (let count = 0; count < 200; count++) {
    const serial = BigInt(`0x${newSerial()}`);
    ones |= serial;
    zeros |= ~serial;
  }
  const random = (1n << 126n) - 1n;
  assert.equal(ones & random, random);
  assert.equal(zeros & random, random);
});

test('the normal form is upper case without leading zeros', () => {
  assert.equal(normalizeSerial('00ab0c'), 'AB0C');
  assert.equal(normalizeSerial('AB0C'), 'AB0C');
  assert.equal(normalizeSerial('000'), '0');
});

test('what is not hex is no serial', () => {
  for (const text of ['', '-01', '0x1', 'g', '1 ', 'AB\n', 'A'.repeat(41), 'AB:CD']) {
    assert.equal(parseSerial(text), undefined, text);
    assert.throws(
      () => normalizeSerial(text),
      (error) => isFairleadError(error, 'VALIDATION'),
    );
  }
});
