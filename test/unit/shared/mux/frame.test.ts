import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import {
  binStart,
  decodeHeader,
  encodeDataHead,
  encodeFrame,
  encodeHeader,
  FLAGS,
  FRAME_HEADER_BYTES,
  hasUnknownFlags,
  MAX_STREAM_ID,
  MIN_FRAME_START_BYTES,
} from '../../../../shared/mux/frame.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

const HEADERS: [type: number, stream: number, flags: number, encoded: string][] = [
  [0, 0, 0, '0000 00000000 0000'],
  [0x0001, 0, 0, '0001 00000000 0000'],
  [0x0102, 0x01020304, FLAGS.END, '0102 01020304 0002'],
  [0xffff, MAX_STREAM_ID, 0xffff, 'ffff ffffffff ffff'],
  [0x0300, 0x80000001, FLAGS.OPEN | FLAGS.END, '0300 80000001 0003'],
];

for (const [type, stream, flags, encoded] of HEADERS) {
  test(`a header of type ${type} on stream ${stream} is ${encoded}`, () => {
    assert.equal(hex(encodeHeader(type, stream, flags)), encoded.replaceAll(' ', ''));
    assert.deepEqual(decodeHeader(bytes(encoded)), { type, stream, flags });
  });
}

test('a frame is its header and its payload', () => {
  assert.equal(hex(encodeFrame(0x0105, 2, FLAGS.END, bytes('81 a1 78 01'))), '010500000002000281a17801');
  assert.equal(hex(encodeFrame(0x0108, 3, 0, new Uint8Array(0))), '0108000000030000');
});

test('a header is read from a view that does not start its buffer', () => {
  const frame = Buffer.concat([Buffer.alloc(5, 0xee), bytes('0102 01020304 0002 c0')]).subarray(5);
  assert.deepEqual(decodeHeader(frame), { type: 0x0102, stream: 0x01020304, flags: 2 });
});

test('a header that is cut short is none', () => {
  const whole = encodeHeader(0x0100, 7, 0);
  for (let length = 0; length < FRAME_HEADER_BYTES; length += 1) {
    assert.equal(decodeHeader(whole.subarray(0, length)), undefined, `${length} bytes`);
  }
});

/** Sizes at which the head of a `bin` changes, and the head that each must have. */
const BIN_HEADS: [length: number, head: string][] = [
  [0, 'c4 00'],
  [1, 'c4 01'],
  [255, 'c4 ff'],
  [256, 'c5 0100'],
  [65535, 'c5 ffff'],
  [65536, 'c6 00010000'],
  [0x0102_0304, 'c6 01020304'],
  [0xffff_ffff, 'c6 ffffffff'],
];

for (const [length, head] of BIN_HEADS) {
  test(`${length} raw bytes stand behind ${head}`, () => {
    const encoded = encodeDataHead(0x00aa_bbcc, FLAGS.END, length);
    assert.equal(hex(encoded), `010000aabbcc0002${head.replaceAll(' ', '')}`);
    assert.equal(MECHANICS['stream.data'], 0x0100);
    const total = encoded.byteLength + length;
    assert.equal(binStart(encoded, FRAME_HEADER_BYTES, total), encoded.byteLength);
  });
}

test('a bin that does not fill its frame exactly is none', () => {
  for (const [length] of BIN_HEADS) {
    const head = encodeDataHead(2, 0, length);
    const total = head.byteLength + length;
    assert.equal(binStart(head, FRAME_HEADER_BYTES, total + 1), undefined, `a byte follows ${length}`);
    assert.equal(binStart(head, FRAME_HEADER_BYTES, total - 1), undefined, `a byte of ${length} is missing`);
  }
});

test('a bin whose head is cut short is none', () => {
  for (const [length] of BIN_HEADS) {
    const head = encodeDataHead(2, 0, length);
    for (let end = FRAME_HEADER_BYTES; end < head.byteLength; end += 1) {
      const cut = head.subarray(0, end);
      assert.equal(binStart(cut, FRAME_HEADER_BYTES, cut.byteLength), undefined, `${end} bytes`);
    }
  }
});

test('a head that is longer than it had to be is still read', () => {
  const frame = bytes('0100 00000002 0000 c6 00000001 78');
  assert.equal(binStart(frame, FRAME_HEADER_BYTES, frame.byteLength), FRAME_HEADER_BYTES + 5);
});

test('no other MessagePack type passes as bytes', () => {
  for (let type = 0; type < 0x100; type += 1) {
    if (type === 0xc4 || type === 0xc5 || type === 0xc6) continue;
    const frame = Buffer.concat([encodeHeader(0x0100, 2, 0), Buffer.of(type, 0, 0, 0, 0)]);
    for (let total = FRAME_HEADER_BYTES + 1; total <= frame.byteLength; total += 1) {
      assert.equal(binStart(frame.subarray(0, total), FRAME_HEADER_BYTES, total), undefined, `type ${type}`);
    }
  }
});

test('the shortest start that must lie in one piece holds a header and the longest head', () => {
  const head = encodeDataHead(2, 0, 65536);
  assert.equal(head.byteLength, MIN_FRAME_START_BYTES);
});

test('every flag beyond the four is unknown', () => {
  const known = FLAGS.OPEN | FLAGS.END | FLAGS.MORE | FLAGS.DEFLATED;
  assert.equal(known, 0x000f);
  for (let bit = 0; bit < 16; bit += 1) assert.equal(hasUnknownFlags(1 << bit), bit >= 4, `bit ${bit}`);
  assert.equal(hasUnknownFlags(known), false);
  assert.equal(hasUnknownFlags(known | 0x8000), true);
});
