/** Whatever is written, however it is cut and whatever the link is taken for: the same bytes and items come out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { ping, pong } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { binHead, encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import type { Session } from '../../shared/mux/session.ts';
import { listKind, logKind, pretendRate, readAll, readyPair, settle } from '../support/mux.ts';
import type { RawPeer } from '../support/raw-peer.ts';
import { readyRawSession } from '../support/raw-session.ts';

const DATA = MECHANICS['stream.data'];

const KIB = 1024;
/** Bytes that pack well, badly, and not at all. */
const piece = fc.oneof(
  fc
    .tuple(fc.string({ minLength: 1, maxLength: 20 }), fc.integer({ min: 1, max: 4000 }))
    .map(([line, times]) => Buffer.from(`${line}\n`.repeat(times)).subarray(0, 100 * KIB)),
  fc.tuple(fc.integer(), fc.integer({ min: 1, max: 60 * KIB })).map(([seed, length]) => noise(seed, length)),
  fc.uint8Array({ minLength: 1, maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
);
/** Unknown, slow, middling, fast: it changes with each piece. */
const rate = fc.constantFrom(undefined, 100_000, 250_000, 2_500_000, 12_000_000, 100_000_000);
const steps = fc.array(fc.tuple(rate, piece), { minLength: 1, maxLength: 12 });
const payloadBytes = fc.constantFrom(600, 4 * KIB, 16 * KIB, 64 * KIB);
const highWaterBytes = fc.constantFrom(2000, 64 * KIB, 1024 * KIB);

/** Bytes without a pattern. */
function noise(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed | 1;
  for (let at = 0; at < length; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}

test('bytes arrive identical', async () => {
  let packed = 0;
  await fc.assert(
    fc.asyncProperty(steps, payloadBytes, highWaterBytes, async (script, payload, highWater) => {
      const pair = await readyPair({
        compression: true,
        highWaterBytes: highWater,
        limits: { payloadBytes: payload },
        onAgent(stream) {
          stream.sendReply({});
          for (const [each, bytes] of script) {
            stream.bytes.write(bytes, () => pretendRate(pair.agent, each));
          }
          stream.finish();
        },
      });
      pretendRate(pair.agent, 250_000);
      const stream = pair.server.open(logKind, {});
      const all = await readAll(stream.bytes);
      assert.ok(all.equals(Buffer.concat(script.map(([, bytes]) => bytes))));
      assert.equal(await stream.closed, undefined);
      assert.deepEqual(pair.server.stats.inflated, pair.agent.stats.deflated);
      packed += pair.agent.stats.deflated.raw;
      pair.link.cut();
    }),
    { numRuns: 60 },
  );
  assert.ok(packed > 0, 'some of it was compressed');
});

test('items arrive identical', async () => {
  let packed = 0;
  const items = fc.array(fc.tuple(rate, piece), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(items, payloadBytes, async (script, payload) => {
      const values = script.map(([, bytes], n) => ({ n, fill: bytes.toString('latin1').slice(0, 50_000) }));
      const pair = await readyPair({
        compression: true,
        limits: { payloadBytes: payload },
        onAgent(stream) {
          stream.sendReply({});
          for (const [index, [each]] of script.entries()) {
            void stream.sendItem(values[index] as never).then(() => pretendRate(pair.agent, each));
          }
          stream.finish();
        },
      });
      pretendRate(pair.agent, 250_000);
      const got: unknown[] = [];
      for await (const item of pair.server.open(listKind, {}).items()) got.push(item);
      assert.deepEqual(got, values);
      packed += pair.agent.stats.deflated.raw;
      pair.link.cut();
    }),
    { numRuns: 60 },
  );
  assert.ok(packed > 0, 'some of it was compressed');
});

const { DEFLATED, MORE, END } = FLAGS;
const types = [DATA, MECHANICS.item, MECHANICS.reply, MECHANICS.trailer, MECHANICS['stream.end']];
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.concat([binHead(bytes.byteLength), bytes])),
  fc.constantFrom({}, { n: 1 }, { n: 1, fill: 'f'.repeat(500) }, { code: 1 }, null).map((value) => encode(value)),
  fc.uint8Array({ maxLength: 40 }),
);
/** Packed, and now and then cut, lengthened or with a byte changed. */
const packed = fc
  .tuple(payload, fc.integer({ min: 0, max: 12 }), fc.nat(), fc.nat({ max: 255 }))
  .map(([bytes, damage, at, byte]) => {
    const whole = deflateRawSync(bytes);
    if (damage === 0) return whole.subarray(0, at % whole.byteLength);
    if (damage === 1) return Buffer.concat([whole, Buffer.of(byte)]);
    if (damage === 2) whole[at % whole.byteLength] = byte;
    return whole;
  });
const frame = fc
  .tuple(fc.constantFrom(...types), fc.integer({ min: 0, max: 9 }), fc.constantFrom(0, 0, END, MORE), packed)
  .map(([type, stream, flags, bytes]) => encodeFrame(type, stream, flags | DEFLATED, bytes));

test('whatever a peer sends compressed, the session goes on or ends with a code of the protocol', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 10 }), async (frames) => {
      const { session, peer, link } = await readyRawSession({ compression: true });
      const [log, list] = [session.open(logKind, {}), session.open(listKind, {})];
      log.bytes.resume();
      for (const { id } of [log, list]) peer.frame(MECHANICS.reply, id, 0, {});
      for (const each of frames) peer.raw(each);
      await settle(5);
      const ended = ['PROTOCOL_ERROR', 'MESSAGE_INVALID', 'FRAME_TOO_LARGE', 'FLOW_CONTROL_ERROR'];
      if (session.draining) assert.ok(ended.includes(peer.goawayCode ?? ''), `${peer.goawayCode}`);
      else await assert.doesNotReject(pinged(session, peer));
      link.cut();
    }),
    { numRuns: 300 },
  );
});

/** Whether the session still hears. */
async function pinged(session: Session, peer: RawPeer): Promise<void> {
  peer.frame(ping.code, 0, 0, { id: 7 });
  await settle(3);
  assert.ok(peer.frames.some(({ type }) => type === pong.code));
  assert.equal(session.draining, false);
}
