import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { Deflation, MAX_INFLATED_BYTES, Packer } from '../../../../shared/mux/deflate.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const KIB = 1024;
const PER_SECOND = 1024 * KIB;

function make() {
  const clock = new FakeClock();
  return { clock, deflation: new Deflation(clock, PER_SECOND) };
}

const text = Buffer.from('GET /health 200\n'.repeat(300));

test('what is packed comes out again, and both ends count it', () => {
  const { deflation } = make();
  const packed = new Packer(deflation).pack(text, 100_000, 4 * KIB);
  assert.ok(packed !== undefined && packed.byteLength < text.byteLength / 10);
  assert.deepEqual(deflation.sent, { raw: text.byteLength, packed: packed.byteLength });
  assert.ok(text.equals(deflation.unpack(packed)));
  assert.deepEqual(deflation.received, deflation.sent);
});

test('what gains nothing is not packed, and not counted', () => {
  const { deflation } = make();
  assert.equal(new Packer(deflation).pack(randomBytes(4 * KIB), 100_000, 64 * KIB), undefined);
  assert.deepEqual(deflation.sent, { raw: 0, packed: 0 });
});

test('a payload may unpack to a full chunk with its head, and not to a byte more', () => {
  const { deflation } = make();
  assert.equal(deflation.unpack(deflateRawSync(Buffer.alloc(MAX_INFLATED_BYTES))).byteLength, MAX_INFLATED_BYTES);
  for (const bytes of [MAX_INFLATED_BYTES + 1, 1024 * KIB, 64 * 1024 * KIB]) {
    assert.throws(() => deflation.unpack(deflateRawSync(Buffer.alloc(bytes))), { code: 'FRAME_TOO_LARGE' }, `${bytes}`);
  }
});

test('an empty payload is DEFLATE too', () => {
  assert.equal(make().deflation.unpack(deflateRawSync(Buffer.alloc(0))).byteLength, 0);
});

const whole = deflateRawSync(text);
for (const [what, payload] of [
  ['nothing', Buffer.alloc(0)],
  ['garbage', Buffer.alloc(100, 0xff)],
  ['a stream that is cut short', whole.subarray(0, -1)],
  ['the start of a stream', whole.subarray(0, 3)],
  ['a byte behind the stream', Buffer.concat([whole, Buffer.of(0)])],
  ['two streams', Buffer.concat([whole, whole])],
  ['bytes behind an empty stream', Buffer.of(3, 0, 0)],
  ['a zlib header', deflateSync(text)],
  ['a gzip header', gzipSync(text)],
  ['a stored block of a wrong length', Buffer.of(1, 5, 0, 0, 0, 1, 2, 3, 4, 5)],
] as const) {
  test(`${what} is no compressed payload`, () => {
    assert.throws(() => make().deflation.unpack(payload), { code: 'MESSAGE_INVALID' });
  });
}

test('the bytes that a peer may make this end unpack are bounded, and come back with time', () => {
  const { clock, deflation } = make();
  const packed = deflateRawSync(Buffer.alloc(64 * KIB));
  const most = (2 * PER_SECOND) / (64 * KIB);
  for (let n = 0; n < most; n += 1) deflation.unpack(packed);
  assert.throws(() => deflation.unpack(packed), { code: 'PROTOCOL_ERROR' });
  clock.advance(63);
  assert.doesNotThrow(() => deflation.unpack(packed));
});

test('small compressed frames count as 16 KiB each', () => {
  const { deflation } = make();
  const packed = deflateRawSync(Buffer.alloc(1));
  for (let n = 0; n < (2 * PER_SECOND) / (16 * KIB); n += 1) deflation.unpack(packed);
  assert.throws(() => deflation.unpack(packed), { code: 'PROTOCOL_ERROR' });
});

test('a sender keeps to half of what its peer takes at once', () => {
  const { clock, deflation } = make();
  const chunk = Buffer.alloc(64 * KIB);
  let sent = 0;
  while (deflation.pack(chunk, 1) !== undefined) sent += chunk.byteLength;
  assert.equal(sent, PER_SECOND);
  clock.advance(1000);
  assert.ok(deflation.pack(chunk, 1) !== undefined);
});

test('packing takes no more than half of the time, and no more than 8 ms in a row', () => {
  const { clock, deflation } = make();
  // As if each call had taken 1 ms.
  Object.defineProperty(deflation.cost, 'msPerByte', { get: () => 1 / text.byteLength });
  let inARow = 0;
  while (deflation.pack(text, 1) !== undefined) inARow += 1;
  assert.equal(inARow, 8);
  clock.advance(2);
  assert.ok(deflation.pack(text, 1) !== undefined);
  assert.equal(deflation.pack(text, 1), undefined);
});
