import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '@msgpack/msgpack';
import fc from 'fast-check';
import {
  binStart,
  decodeHeader,
  encodeDataHead,
  encodeFrame,
  encodeHeader,
  FRAME_HEADER_BYTES,
  hasUnknownFlags,
} from '../../shared/mux/frame.ts';

const u16 = fc.nat({ max: 0xffff });
const u32 = fc.nat({ max: 0xffff_ffff });

test('a header is decoded to what was encoded', () => {
  fc.assert(
    fc.property(u16, u32, u16, fc.uint8Array({ maxLength: 50 }), (type, stream, flags, payload) => {
      assert.deepEqual(decodeHeader(encodeHeader(type, stream, flags)), { type, stream, flags });
      const frame = encodeFrame(type, stream, flags, payload);
      assert.deepEqual(decodeHeader(frame), { type, stream, flags });
      assert.deepEqual(Buffer.from(frame.subarray(FRAME_HEADER_BYTES)), Buffer.from(payload));
    }),
    { numRuns: 1000 },
  );
});

test('a header is read as a plain DataView reads it', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat({ max: 10 }), (bytes, from) => {
      const frame = bytes.subarray(from);
      const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
      const header = decodeHeader(frame);
      if (frame.byteLength < 8) {
        assert.equal(header, undefined);
        return;
      }
      assert.deepEqual(header, { type: view.getUint16(0), stream: view.getUint32(2), flags: view.getUint16(6) });
      assert.equal(hasUnknownFlags(view.getUint16(6)), view.getUint16(6) > 0x000f);
    }),
    { numRuns: 1000 },
  );
});

test('bytes behind their head are what a MessagePack decoder finds there', () => {
  const length = fc.oneof(fc.nat({ max: 300 }), fc.constantFrom(255, 256, 65_535, 65_536, 65_537, 100_000));
  fc.assert(
    fc.property(u32, u16, length, fc.nat(), (stream, flags, bytes, fill) => {
      const body = Buffer.alloc(bytes, fill & 0xff);
      const frame = Buffer.concat([encodeDataHead(stream, flags, bytes), body]);
      const start = binStart(frame, FRAME_HEADER_BYTES, frame.byteLength);
      assert.ok(start !== undefined);
      assert.ok(frame.subarray(start).equals(body));
      assert.ok(body.equals(decode(frame.subarray(FRAME_HEADER_BYTES)) as Uint8Array));
    }),
    { numRuns: 300 },
  );
});

test('any bytes are one bin that fills its frame, or none, as a MessagePack decoder says', () => {
  const start = fc.constantFrom([], [0xc4], [0xc5], [0xc6], [0xc4, 3], [0xc5, 0, 3], [0xc6, 0, 0, 0, 3]);
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 12 }), (head, rest) => {
      const frame = Buffer.concat([Buffer.alloc(8), Buffer.from(head), rest]);
      const found = binStart(frame, FRAME_HEADER_BYTES, frame.byteLength);
      let value: unknown;
      try {
        value = decode(frame.subarray(FRAME_HEADER_BYTES));
      } catch {
        value = undefined;
      }
      if (value instanceof Uint8Array) assert.deepEqual(frame.subarray(found), Buffer.from(value));
      else assert.equal(found, undefined);
    }),
    { numRuns: 3000 },
  );
});
