import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Assembly } from '../../../../shared/mux/assembly.ts';

test('fragments come out as one message', () => {
  for (const sizes of [[0], [1], [1, 0, 2], [4095, 1, 1], [4096, 4096], [10_000, 3, 70_000], Array(500).fill(13)]) {
    const assembly = new Assembly(7);
    const parts = (sizes as number[]).map((size) => randomBytes(size));
    for (const part of parts) assembly.add(part);
    const whole = Buffer.concat(parts);
    assert.equal(assembly.type, 7);
    assert.equal(assembly.bytes, whole.byteLength);
    assert.ok(whole.equals(assembly.whole()));
  }
});

test('a fragment is copied: its memory may be used again', () => {
  const assembly = new Assembly(1);
  const fragment = Buffer.from('abc');
  assembly.add(fragment);
  fragment.fill(0);
  assembly.add(Buffer.from('def'));
  assert.equal(Buffer.from(assembly.whole()).toString(), 'abcdef');
});

test('tiny fragments take memory in proportion to their bytes', () => {
  const assembly = new Assembly(1);
  const byte = Buffer.of(1);
  for (let count = 0; count < 200_000; count += 1) assembly.add(byte);
  assert.equal(assembly.bytes, 200_000);
  assert.ok(assembly.whole().buffer.byteLength <= 2 * 200_000 + 4096);
});
