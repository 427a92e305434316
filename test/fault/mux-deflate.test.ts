/** Compressed frames from a peer that keeps to no rules: its session ends with the right code, and nothing is unpacked in vain. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { encode } from '@msgpack/msgpack';
import { ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeDataHead, encodeFrame, FLAGS, FRAME_HEADER_BYTES } from '../../shared/mux/frame.ts';
import { listKind, logKind, pipeKind, readAll, settle } from '../support/mux.ts';
import { type RawSession, type RawSessionOptions, readyRawSession } from '../support/raw-session.ts';

const KIB = 1024;
const { OPEN, DEFLATED, END, MORE } = FLAGS;
const { reply, item } = MECHANICS;
const DATA = MECHANICS['stream.data'];

/** What a `stream.data` frame of these bytes holds. */
function chunk(bytes: Uint8Array): Buffer {
  return Buffer.concat([encodeDataHead(0, 0, bytes.byteLength).subarray(FRAME_HEADER_BYTES), bytes]);
}

function deflated(type: number, stream: number, flags: number, raw: Uint8Array): Uint8Array {
  return encodeFrame(type, stream, flags | DEFLATED, deflateRawSync(raw));
}

/** A session whose peer has answered a log (2), a list (4) and a pipe (6), and opened a pipe of its own (1). */
async function victim({ compression = true, limits = {} }: RawSessionOptions = {}) {
  const raw = await readyRawSession({ compression, limits, onStream: () => undefined });
  const log = raw.session.open(logKind, {});
  const list = raw.session.open(listKind, {});
  const pipe = raw.session.open(pipeKind, {});
  for (const { id } of [log, list, pipe]) raw.peer.frame(reply, id, 0, {});
  raw.peer.open(pipeKind, 1, {}, OPEN);
  await settle();
  return { ...raw, log, list, pipe };
}

async function codeOf({ session, peer }: RawSession): Promise<string | undefined> {
  await settle();
  assert.equal(session.draining, true, 'the session has ended');
  return peer.goawayCode;
}

const text = Buffer.from('a line of a log\n'.repeat(100));
const good = deflateRawSync(chunk(text));

const FAULTS: [what: string, code: string, frames: Uint8Array][] = [
  ['an OPEN', 'PROTOCOL_ERROR', deflated(pipeKind.code, 3, OPEN, encode({}))],
  ['a ping', 'PROTOCOL_ERROR', deflated(ping.code, 0, 0, encode({ id: 1 }))],
  ['an ack', 'PROTOCOL_ERROR', deflated(MECHANICS['session.ack'], 0, 0, encode({ bytes: 1 }))],
  ['a window', 'PROTOCOL_ERROR', deflated(MECHANICS['stream.window'], 2, 0, encode({ limit: 1 << 20 }))],
  ['a reset', 'PROTOCOL_ERROR', deflated(MECHANICS['stream.reset'], 2, 0, encode({ code: 'INTERNAL', message: '' }))],
  ['a signal', 'PROTOCOL_ERROR', deflated(MECHANICS['stream.signal'], 2, 0, encode({}))],
  ['an end', 'PROTOCOL_ERROR', deflated(MECHANICS['stream.end'], 2, END, new Uint8Array(0))],
  ['a second reply', 'PROTOCOL_ERROR', deflated(reply, 2, 0, encode({}))],
  ['bytes on a stream of items', 'PROTOCOL_ERROR', deflated(DATA, 4, 0, chunk(text))],
  ['an item on a stream of bytes', 'PROTOCOL_ERROR', deflated(item, 2, 0, encode({ n: 1 }))],
  ['bytes with MORE', 'PROTOCOL_ERROR', deflated(DATA, 2, MORE, chunk(text))],
  ['an item with MORE and END', 'PROTOCOL_ERROR', deflated(item, 4, MORE | END, encode({ n: 1 }))],
  ['a stream that was never used', 'PROTOCOL_ERROR', deflated(DATA, 8, 0, chunk(text))],
  ['bytes without their head', 'MESSAGE_INVALID', deflated(DATA, 2, 0, text)],
  ['bytes shorter than their head says', 'MESSAGE_INVALID', deflated(DATA, 2, 0, chunk(text).subarray(0, -1))],
  ['two chunks', 'MESSAGE_INVALID', deflated(DATA, 2, 0, Buffer.concat([chunk(text), chunk(text)]))],
  ['an item of two values', 'MESSAGE_INVALID', deflated(item, 4, 0, Buffer.concat([encode(1), encode(2)]))],
  ['an item that is too deep', 'MESSAGE_INVALID', deflated(item, 4, 0, Buffer.alloc(1000, 0x91))],
  ['garbage', 'MESSAGE_INVALID', encodeFrame(DATA, 2, DEFLATED, Buffer.alloc(50, 0xee))],
  ['what is not compressed', 'MESSAGE_INVALID', encodeFrame(DATA, 2, DEFLATED, chunk(text))],
  ['nothing', 'MESSAGE_INVALID', encodeFrame(DATA, 2, DEFLATED, new Uint8Array(0))],
  ['a stream cut short', 'MESSAGE_INVALID', encodeFrame(DATA, 2, DEFLATED, good.subarray(0, -1))],
  ['bytes behind the stream', 'MESSAGE_INVALID', encodeFrame(DATA, 2, DEFLATED, Buffer.concat([good, Buffer.of(0)]))],
  ['a chunk larger than a frame holds', 'FRAME_TOO_LARGE', deflated(DATA, 2, 0, chunk(Buffer.alloc(64 * KIB + 3)))],
  ['a bomb', 'FRAME_TOO_LARGE', deflated(DATA, 2, 0, chunk(Buffer.alloc(200 * KIB * KIB)))],
  ['a bomb of an item', 'FRAME_TOO_LARGE', deflated(item, 4, MORE, Buffer.alloc(200 * KIB * KIB))],
];

describe('the session ends at', () => {
  for (const [what, code, frame] of FAULTS) {
    test(`DEFLATED on ${what}: ${code}`, async () => {
      const raw = await victim();
      raw.peer.raw(frame);
      assert.equal(await codeOf(raw), code);
    });
  }
});

test('a good frame on a session that has not agreed ends it', async () => {
  const raw = await victim({ compression: false });
  raw.peer.raw(encodeFrame(DATA, raw.log.id, DEFLATED, good));
  assert.equal(await codeOf(raw), 'PROTOCOL_ERROR');
});

test('good frames with and without END, between plain ones, arrive in order', async () => {
  const raw = await victim();
  const all = readAll(raw.log.bytes);
  raw.peer.raw(deflated(DATA, raw.log.id, 0, chunk(text)));
  raw.peer.data(raw.log.id, 3);
  raw.peer.raw(deflated(DATA, raw.log.id, 0, chunk(Buffer.alloc(64 * KIB, 'x'))));
  raw.peer.raw(deflated(DATA, raw.log.id, END, chunk(text)));
  assert.ok((await all).equals(Buffer.concat([text, Buffer.alloc(3), Buffer.alloc(64 * KIB, 'x'), text])));
  assert.equal(await raw.log.closed, undefined);
  const { inflated, bytesIn } = raw.session.stats;
  assert.ok(inflated.raw > 64 * KIB && inflated.packed < 1000, `${inflated.packed}`);
  assert.ok(bytesIn < 2000, 'what is acknowledged are bytes on the wire');
});

test('any kind takes compressed frames, whatever this end would send of it', async () => {
  const raw = await victim();
  assert.ok(!('compressible' in pipeKind));
  const own = raw.session.open(pipeKind, {});
  raw.peer.raw(deflated(reply, own.id, 0, encode({})));
  raw.peer.raw(deflated(DATA, own.id, END, chunk(text)));
  own.bytes.end();
  assert.ok((await readAll(own.bytes)).equals(text));
  assert.deepEqual(await own.reply, {});
  const theirs = raw.streams.at(-1);
  assert.ok(theirs);
  raw.peer.raw(deflated(DATA, theirs.id, END, chunk(text)));
  assert.ok((await readAll(theirs.bytes)).equals(text));
});

test('an item in pieces, some of them compressed, is one item', async () => {
  const raw = await victim();
  const value = { n: 1, fill: 'f'.repeat(5000) };
  const bytes = encode(value);
  const { id } = raw.list;
  raw.peer.raw(deflated(item, id, MORE, bytes.subarray(0, 2000)));
  raw.peer.raw(encodeFrame(item, id, MORE, bytes.subarray(2000, 2001)));
  raw.peer.raw(deflated(item, id, MORE, new Uint8Array(0)));
  raw.peer.raw(deflated(item, id, END, bytes.subarray(2001)));
  const items: unknown[] = [];
  for await (const each of raw.list.items()) items.push(each);
  assert.deepEqual(items, [value]);
});

test('credit is what the bytes unpack to', async () => {
  const raw = await victim();
  const piece = deflated(DATA, raw.log.id, 0, chunk(Buffer.alloc(64 * KIB)));
  for (let n = 0; n < 4; n += 1) raw.peer.raw(piece);
  await settle();
  assert.equal(raw.session.draining, false);
  assert.equal(raw.log.flow.received, 256 * KIB);
  raw.peer.raw(deflated(DATA, raw.log.id, 0, chunk(Buffer.of(1))));
  assert.equal(await codeOf(raw), 'FLOW_CONTROL_ERROR');
});

test('a frame for a stream that has closed is dropped as it is', async () => {
  const raw = await victim();
  raw.log.bytes.destroy();
  await settle();
  raw.peer.raw(encodeFrame(DATA, raw.log.id, DEFLATED, Buffer.alloc(50, 0xee)));
  await settle();
  assert.equal(raw.session.draining, false);
  assert.equal(raw.session.stats.inflated.packed, 0);
});

for (const [what, compression, type] of [
  ['that was not agreed on', false, DATA],
  ['of a type that is never compressed', true, MECHANICS['stream.window']],
] as const) {
  test(`a compressed frame ${what} ends the session even on a stream that has closed`, async () => {
    const raw = await victim({ compression });
    raw.log.bytes.destroy();
    await settle();
    raw.peer.raw(encodeFrame(type, raw.log.id, DEFLATED, good));
    assert.equal(await codeOf(raw), 'PROTOCOL_ERROR');
  });
}

test('a flood that is cheap to send and dear to unpack ends the session', async () => {
  const raw = await victim({ limits: { inflatedBytesPerSecond: 1024 * KIB } });
  raw.log.bytes.resume();
  const piece = deflated(DATA, raw.log.id, 0, chunk(new Uint8Array(1)));
  for (let n = 0; n < 5000; n += 1) raw.peer.raw(piece);
  assert.equal(await codeOf(raw), 'PROTOCOL_ERROR');
});
