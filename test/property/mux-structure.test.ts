import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, Encoder } from '@msgpack/msgpack';
import fc from 'fast-check';
import { structureFault } from '../../shared/mux/structure.ts';
import { decodeValue, encodeValue } from '../../shared/mux/values.ts';

const LIMITS = { depth: 6, nodes: 40 };
const WIDE = { depth: 64, nodes: 1_000_000 };
const encoder = new Encoder();

const key = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.constantFrom('__proto__', '__proto_', 'constructor', 'toString', ''),
);
const leaf = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.constantFrom(
    0,
    -1,
    -32,
    -33,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    2 ** 32 - 1,
    2 ** 32,
    -(2 ** 31),
    -(2 ** 31) - 1,
  ),
  fc.double({ noNaN: true }).map((value) => (Object.is(value, -0) ? 0 : value)),
  fc.string({ unit: 'binary', maxLength: 80 }),
  fc.constantFrom(31, 32, 255, 256).map((length) => 'x'.repeat(length)),
);
const { value: tree } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 8, depthSize: 'small' },
    leaf,
    fc.array(tie('value'), { maxLength: 17 }),
    fc.dictionary(key, tie('value'), { maxKeys: 17 }),
  ),
}));

/** The nesting and the number of values, counted without MessagePack. */
function measure(value: unknown): { depth: number; nodes: number; proto: boolean } {
  if (value === null || typeof value !== 'object') return { depth: 0, nodes: 1, proto: false };
  const isArray = Array.isArray(value);
  const inner = (isArray ? value : Object.values(value)).map(measure);
  return {
    depth: 1 + Math.max(0, ...inner.map(({ depth }) => depth)),
    nodes: 1 + (isArray ? 0 : inner.length) + inner.reduce((sum, { nodes }) => sum + nodes, 0),
    proto: (!isArray && Object.hasOwn(value, '__proto__')) || inner.some(({ proto }) => proto),
  };
}

const plain = (value: unknown) => JSON.stringify(value);

test('a JSON-like value passes exactly when it keeps to the limits', () => {
  fc.assert(
    fc.property(tree, (value) => {
      const { depth, nodes, proto } = measure(value);
      const bytes = encoder.encode(value);
      const fits = depth <= LIMITS.depth && nodes <= LIMITS.nodes && !proto;
      assert.equal(structureFault(bytes, LIMITS) === undefined, fits, `depth ${depth}, nodes ${nodes}, proto ${proto}`);
      assert.equal(structureFault(bytes, { depth, nodes }) === undefined, !proto);
      if (nodes > 1) assert.notEqual(structureFault(bytes, { depth, nodes: nodes - 1 }), undefined);
      if (depth > 0) assert.notEqual(structureFault(bytes, { depth: depth - 1, nodes }), undefined);
    }),
    { numRuns: 1500, interruptAfterTimeLimit: 1_200 },
  );
});

test('a value that passes comes back as it was', () => {
  fc.assert(
    fc.property(tree, (value) => {
      fc.pre(!measure(value).proto);
      const bytes = encodeValue(value, { ...WIDE, bytes: 100_000_000 }, 'x');
      assert.equal(plain(decodeValue(bytes, WIDE, 'x')), plain(value));
    }),
    { numRuns: 700, interruptAfterTimeLimit: 1_000 },
  );
});

test('no part of a value passes, and nothing behind it', () => {
  fc.assert(
    fc.property(tree, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 5 }), (value, cut, more) => {
      const bytes = encoder.encode(value);
      assert.notEqual(structureFault(bytes.subarray(0, cut % bytes.byteLength), WIDE), undefined);
      assert.notEqual(structureFault(Buffer.concat([bytes, more]), WIDE), undefined);
    }),
    { numRuns: 500, interruptAfterTimeLimit: 1_000 },
  );
});

/** Bytes that look like MessagePack more often than chance has it. */
const typeByte = fc.oneof(
  fc.nat({ max: 0xff }),
  fc.integer({ min: 0x80, max: 0xa3 }),
  fc.integer({ min: 0xc0, max: 0xdf }),
);
const noise = fc.array(typeByte, { maxLength: 60, size: 'max' }).map((bytes) => Uint8Array.from(bytes));

test('whatever bytes come, the scan answers, and what it passes decodes and keeps no surprise', () => {
  let passed = 0;
  fc.assert(
    fc.property(noise, (bytes) => {
      if (structureFault(bytes, LIMITS) !== undefined) return;
      passed += 1;
      const value = decode(bytes);
      const { depth, nodes, proto } = measure(value);
      assert.ok(depth <= LIMITS.depth);
      assert.ok(nodes <= LIMITS.nodes);
      assert.equal(proto, false);
      assert.equal(Object.getPrototypeOf(Object(value)) === null, false);
    }),
    { numRuns: 20_000, interruptAfterTimeLimit: 1_200 },
  );
  assert.ok(passed > 50, `${passed} of these bytes are values`);
});
