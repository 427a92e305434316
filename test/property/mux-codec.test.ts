/** Any bytes: the scan, the decoder, a session and the WebSocket reader survive them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { ERRORS, FairleadError, isFairleadError } from '../../shared/errors.ts';
import { binStart, decodeHeader, encodeDataHead, encodeFrame, encodeHeader } from '../../shared/mux/frame.ts';
import { structureFault } from '../../shared/mux/structure.ts';
import { decodeValue, encodeValue } from '../../shared/mux/values.ts';
import { WsReader, type WsReceiver } from '../../shared/mux/ws-reader.ts';
import { callKind, execKind, listKind, pipeKind, settle } from '../support/mux.ts';
import { readyRawSession } from '../support/raw-session.ts';

const LIMITS = { depth: 16, nodes: 100_000 };
const VALUE_LIMITS = { ...LIMITS, bytes: 4 * 1024 * 1024 };
/** MessagePack type bytes come often, so that deep and false structures do. */
const typeByte = fc.constantFrom(
  0x81,
  0x91,
  0x9f,
  0xc0,
  0xc4,
  0xc6,
  0xd9,
  0xdb,
  0xdc,
  0xdd,
  0xde,
  0xdf,
  0xa1,
  0xc7,
  0xcb,
);
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.array(fc.oneof(typeByte, fc.nat({ max: 255 })), { maxLength: 300 }).map((bytes) => Uint8Array.from(bytes)),
);

test('any bytes: a fault or a value, never a throw that is not ours', () => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const fault = structureFault(bytes, LIMITS);
      try {
        decodeValue(bytes, LIMITS, 'any');
        assert.equal(fault, undefined);
      } catch (error) {
        assert.ok(isFairleadError(error, 'MESSAGE_INVALID'));
      }
    }),
    { numRuns: 3000 },
  );
});

test('what passes the scan is what the decoder reads without complaint, but for its text', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      const bytes = encode(value);
      if (structureFault(bytes, LIMITS) !== undefined) return;
      assert.deepEqual(decodeValue(bytes, LIMITS, 'any'), decode(bytes));
    }),
    { numRuns: 500 },
  );
});

test('any JSON crosses unchanged', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6, noUnicodeString: false }), (value) => {
      const bytes = encodeValue(value, VALUE_LIMITS, 'any');
      assert.deepEqual(
        JSON.parse(JSON.stringify(decodeValue(bytes, LIMITS, 'any'))),
        JSON.parse(JSON.stringify(value)),
      );
    }),
    { numRuns: 500 },
  );
});

test('any header is read as it was written', () => {
  const u16 = fc.nat({ max: 0xffff });
  fc.assert(
    fc.property(u16, fc.nat({ max: 0xffff_ffff }), u16, (type, stream, flags) => {
      assert.deepEqual(decodeHeader(encodeHeader(type, stream, flags)), { type, stream, flags });
    }),
  );
});

test('any length: a data head says it, and nothing else does', () => {
  fc.assert(
    fc.property(fc.nat({ max: 70_000 }), fc.integer({ min: -3, max: 3 }), (length, off) => {
      const head = encodeDataHead(2, 0, length);
      const start = binStart(head, 8, head.byteLength + length + off);
      assert.equal(start, off === 0 ? head.byteLength : undefined);
    }),
  );
});

/** Frames that are nearly right: known types, streams and flags, and any payload. */
const frame = fc
  .record({
    type: fc.oneof(
      fc.nat({ max: 8 }),
      fc.integer({ min: 0x0100, max: 0x0109 }),
      fc.constantFrom(callKind.code, execKind.code, listKind.code, pipeKind.code),
      fc.nat({ max: 0xffff }),
    ),
    stream: fc.oneof(fc.nat({ max: 9 }), fc.nat({ max: 0xffff_ffff })),
    flags: fc.oneof({ weight: 5, arbitrary: fc.nat({ max: 7 }) }, { weight: 1, arbitrary: fc.nat({ max: 0xffff }) }),
    payload: fc.oneof(
      anyBytes,
      fc.jsonValue().map((value) => encode(value)),
      fc
        .constantFrom(
          {},
          { limit: 1e6 },
          { bytes: 0 },
          { code: 'X', message: '' },
          { n: 1 },
          { text: '' },
          { id: 1 },
          { resize: 1 },
        )
        .map((value) => encode(value)),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => encode(bytes)),
    ),
  })
  .map(({ type, stream, flags, payload }) => encodeFrame(type, stream, flags, payload));

test('any frames: the session lives or ends with a code, and the next one is as good as new', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 9, arbitrary: frame }, { weight: 1, arbitrary: anyBytes }), { maxLength: 30 }),
      async (frames) => {
        const { session, peer } = await readyRawSession({
          onStream(stream) {
            if (stream.kind.code === callKind.code) stream.sendReply({ text: '' });
            else stream.sendReply({});
          },
        });
        session.open(listKind, {});
        session.open(execKind, {}).bytes.resume();
        for (const each of frames) peer.raw(each);
        await settle(4);
        if (session.draining) assert.ok(Object.hasOwn(ERRORS, (await session.closed).code));
        else session.destroy(new FairleadError('SHUTDOWN', ''));
        await session.closed;
        assert.equal(session.openStreams, 0);
      },
    ),
    { numRuns: 300 },
  );
});

const KEY = Uint8Array.of(0x11, 0x92, 0x53, 0xd4);
const unmask = (bytes: Uint8Array, mask: Uint8Array) => {
  for (let index = 0; index < bytes.byteLength; index += 1) bytes[index] = (bytes[index] ?? 0) ^ (mask[index & 3] ?? 0);
};

/** One WebSocket frame, as RFC 6455 writes it. */
function wsFrame(payload: Uint8Array, masked: boolean): Buffer {
  const { byteLength } = payload;
  const long = byteLength > 65535;
  const head = Buffer.alloc(byteLength < 126 ? 2 : long ? 10 : 4);
  head[0] = 0x82;
  head[1] = (masked ? 0x80 : 0) | (byteLength < 126 ? byteLength : long ? 127 : 126);
  if (long) head.writeBigUInt64BE(BigInt(byteLength), 2);
  else if (byteLength >= 126) head.writeUInt16BE(byteLength, 2);
  const body = Buffer.from(payload);
  if (masked) unmask(body, KEY);
  return Buffer.concat(masked ? [head, KEY, body] : [head, body]);
}

test('messages come off a WebSocket whole, wherever the network cuts them', () => {
  const sizes = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constantFrom(125, 126, 65535, 65536, 70_000));
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.array(sizes, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }),
      fc.boolean(),
      (masked, lengths, cuts, tiny) => {
        const got: Buffer[] = [];
        const refused: number[] = [];
        const receiver: WsReceiver = {
          _maxPayload: 66_000,
          _state: 0,
          _bufferedBytes: 0,
          _fragmented: 0,
          _errored: false,
          _write: () => assert.fail('ws itself was asked'),
        };
        new WsReader(receiver, masked, unmask, {
          message: (first, rest) => got.push(Buffer.concat([first, ...rest])),
          tooLarge: (bytes) => refused.push(bytes),
        });
        const sent = lengths.map((length, index) => Buffer.alloc(length, index + 1));
        const wire = Buffer.concat(sent.map((each) => wsFrame(each, masked)));
        for (let at = 0, turn = 0; at < wire.byteLength; turn += 1) {
          const length = tiny && wire.byteLength < 3000 ? 1 : (cuts[turn % cuts.length] ?? 1);
          receiver._write(Buffer.from(wire.subarray(at, at + length)), 'binary', (error) =>
            assert.equal(error, undefined),
          );
          at += length;
        }
        assert.deepEqual(
          got,
          sent.filter((each) => each.byteLength <= 66_000),
        );
        assert.deepEqual(
          refused,
          lengths.filter((length) => length > 66_000),
        );
      },
    ),
    { numRuns: 300 },
  );
});
