import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder } from '@msgpack/msgpack';
import { MAX_MESSAGE_DEPTH, MAX_MESSAGE_NODES } from '../../../../shared/limits.ts';
import { structureFault } from '../../../../shared/mux/structure.ts';
import { cpuMs } from '../../../support/cpu-time.ts';

const LIMITS = { depth: MAX_MESSAGE_DEPTH, nodes: MAX_MESSAGE_NODES };
const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const fault = (text: string, limits = LIMITS) => structureFault(bytes(text), limits);

/** One smallest value per type byte, written without the scan's own table; undefined for what is refused. */
function smallest(type: number): Buffer | undefined {
  const of = (...rest: number[]) => Buffer.of(type, ...rest);
  if (type < 0x80 || type >= 0xe0) return of();
  if (type < 0x90) return Buffer.concat([of(), ...Array.from({ length: type & 15 }, () => Buffer.of(0xa1, 0x6b, 1))]);
  if (type < 0xa0) return Buffer.concat([of(), Buffer.alloc(type & 15)]);
  if (type < 0xc0) return Buffer.concat([of(), Buffer.alloc(type & 31, 0x61)]);
  // nil, -, false, true, bin 8/16/32, ext 8/16/32, float 32/64, uint 8..64, int 8..64, fixext 1..16, str, array, map
  const zeros = [
    0, -1, 0, 0, -1, -1, -1, -1, -1, -1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, -1, -1, -1, -1, -1, 1, 2, 4, 2, 4, 2, 4,
  ];
  const count = zeros[type - 0xc0] ?? -1;
  return count < 0 ? undefined : of(...Array.from({ length: count }, () => 0));
}

for (let type = 0; type < 0x100; type += 1) {
  const value = smallest(type);
  const name = `type byte 0x${type.toString(16).padStart(2, '0')}`;
  if (value === undefined) {
    test(`${name} is refused`, () => {
      const expected = type === 0xc1 ? /0xc1/ : type <= 0xc6 ? /binary data/ : /extension/;
      assert.match(structureFault(Buffer.concat([Buffer.of(type), Buffer.alloc(40)]), LIMITS) ?? '', expected);
    });
    continue;
  }
  test(`${name} is taken whole, and in no part or excess`, () => {
    assert.equal(structureFault(value, LIMITS), undefined);
    assert.doesNotThrow(() => new Decoder().decode(value));
    for (let end = 0; end < value.byteLength; end += 1) {
      assert.match(structureFault(value.subarray(0, end), LIMITS) ?? '', /^it ends inside|^it announces more/);
    }
    assert.equal(structureFault(Buffer.concat([value, Buffer.of(0xc0)]), LIMITS), 'bytes follow the value');
  });
}

test('a value is read at its place in a larger buffer', () => {
  const padded = bytes('ff 92 01 02 ff').subarray(1, 4);
  assert.equal(structureFault(padded, LIMITS), undefined);
});

test('arrays nest 16 deep and no deeper', () => {
  const nested = (levels: number) => Buffer.concat([Buffer.alloc(levels - 1, 0x91), Buffer.of(0x90)]);
  assert.equal(structureFault(nested(MAX_MESSAGE_DEPTH), LIMITS), undefined);
  assert.equal(structureFault(nested(MAX_MESSAGE_DEPTH + 1), LIMITS), 'it nests deeper than 16');
  assert.equal(structureFault(Buffer.alloc(1_000_000, 0x91), LIMITS), 'it nests deeper than 16');
});

test('maps nest 16 deep and no deeper', () => {
  const level = bytes('81 a1 6b');
  const nested = (levels: number) => Buffer.concat([...Array.from({ length: levels - 1 }, () => level), bytes('80')]);
  assert.equal(structureFault(nested(MAX_MESSAGE_DEPTH), LIMITS), undefined);
  assert.equal(structureFault(nested(MAX_MESSAGE_DEPTH + 1), LIMITS), 'it nests deeper than 16');
});

test('depth is counted from the outside, not over siblings', () => {
  assert.equal(fault('93 91 c0 91 c0 91 c0', { depth: 2, nodes: 100 }), undefined);
  assert.equal(fault('92 c0 91 91 c0', { depth: 2, nodes: 100 }), 'it nests deeper than 2');
});

test('the limit on values counts each value once, and map keys too', () => {
  assert.equal(fault('93 01 02 03', { depth: 2, nodes: 4 }), undefined);
  assert.equal(fault('93 01 02 03', { depth: 2, nodes: 3 }), 'it holds more than 3 values');
  assert.equal(fault('82 a1 61 01 a1 62 02', { depth: 2, nodes: 5 }), undefined);
  assert.equal(fault('82 a1 61 01 a1 62 02', { depth: 2, nodes: 4 }), 'it holds more than 4 values');
  const most = Buffer.concat([bytes('dd 0001869f'), Buffer.alloc(99_999)]);
  assert.equal(structureFault(most, LIMITS), undefined, '100,000 values with the array itself');
  const more = Buffer.concat([bytes('dd 000186a0'), Buffer.alloc(100_000)]);
  assert.equal(structureFault(more, LIMITS), 'it holds more than 100000 values');
});

/** Lengths and counts far beyond the bytes there are. */
const LIES = [
  'd9 ff 61',
  'da ffff 61',
  'db ffffffff 61',
  'dc ffff',
  'dd ffffffff',
  'de ffff',
  'df ffffffff',
  '9f c0',
  '8f a1 61 c0',
  'bf 61',
  '92 dd 7fffffff c0 c0',
];

for (const lie of LIES) {
  test(`${lie} claims more than there is`, () => {
    assert.match(fault(lie) ?? '', /^it ends inside a value$|^it announces more values than it has bytes$/);
  });
}

test('a map needs two values for each of its count', () => {
  assert.equal(fault('81 a0'), 'it announces more values than it has bytes');
  assert.equal(fault('82 a0 c0 a0'), 'it announces more values than it has bytes');
  assert.equal(fault('82 a0 c0 a0 c0'), undefined);
});

test('claims of billions are refused at once and without memory', async () => {
  const lies = ['dd ffffffff', 'df ffffffff', 'db ffffffff'].map((lie) =>
    Buffer.concat([bytes(lie), Buffer.alloc(64)]),
  );
  const before = process.memoryUsage().heapUsed;
  const spentMs = await cpuMs(() => {
    for (let round = 0; round < 5_000; round += 1) for (const lie of lies) structureFault(lie, LIMITS);
  });
  assert.ok(spentMs < 2_000, `${spentMs} ms`);
  assert.ok(process.memoryUsage().heapUsed - before < 64 * 1024 * 1024);
});

test('a map key must be a string', () => {
  for (const key of ['01', 'c0', 'c3', 'cb 0000000000000000', '90', '80', 'ff']) {
    assert.equal(fault(`81 ${key} c0`), 'a map key is no string', key);
  }
  for (const key of ['a0', 'a1 61', 'd9 01 61', 'da 0001 61', 'db 00000001 61']) {
    assert.equal(fault(`81 ${key} c0`), undefined, key);
  }
});

const PROTO = Buffer.from('__proto__').toString('hex');

test('__proto__ is no map key, however its string is written', () => {
  for (const head of ['a9', 'd9 09', 'da 0009', 'db 00000009']) {
    assert.equal(fault(`81 ${head} ${PROTO} c0`), 'a map key is __proto__', head);
    assert.equal(fault(`82 a1 61 c0 ${head} ${PROTO} 80`), 'a map key is __proto__', 'the second key');
    assert.equal(fault(`91 81 ${head} ${PROTO} 80`), 'a map key is __proto__', 'of an inner map');
  }
});

test('__proto__ as a value, and its like as keys, are nothing special', () => {
  assert.equal(fault(`a9 ${PROTO}`), undefined);
  assert.equal(fault(`92 a9 ${PROTO} c0`), undefined);
  assert.equal(fault(`81 a1 61 a9 ${PROTO}`), undefined);
  assert.equal(fault(`81 a1 61 92 a9 ${PROTO} c0`), undefined, 'an array within a map holds no keys');
  for (const key of ['__proto_', '__proto___', '__PROTO__', '__proto_x', 'x_proto__', 'constructor']) {
    const text = Buffer.from(key);
    assert.equal(
      structureFault(Buffer.concat([Buffer.of(0x81, 0xa0 | text.length), text, bytes('c0')]), LIMITS),
      undefined,
    );
  }
});

test('keys and values keep their places after inner containers', () => {
  assert.equal(fault('82 a1 61 81 a1 62 01 a1 63 01'), undefined);
  assert.equal(fault('82 a1 61 81 a1 62 01 01 01'), 'a map key is no string');
  assert.equal(fault('82 a1 61 90 a1 63 90'), undefined);
});

test('nothing at all is no value', () => {
  assert.equal(fault(''), 'it ends inside a value');
});
