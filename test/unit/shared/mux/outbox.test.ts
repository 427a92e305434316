import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import { binStart, decodeHeader, FLAGS, FRAME_HEADER_BYTES } from '../../../../shared/mux/frame.ts';
import { Outbox } from '../../../../shared/mux/outbox.ts';
import { FakeHost, wire } from './fake-host.ts';

const KIB = 1024;
const DATA = MECHANICS['stream.data'];
const none = () => undefined;

interface Seen {
  type: number;
  flags: number;
  body: Buffer;
}

function make(options: { limit?: number; held?: boolean; payloadBytes?: number } = {}) {
  const host = new FakeHost({ payloadBytes: options.payloadBytes ?? 64 * KIB });
  const ends: string[] = [];
  const { limit = 256 * KIB, held = false } = options;
  const outbox = new Outbox(host, 5, { priority: 'bulk', limit, held }, () => ends.push('end'));
  /** Takes everything that may go now, as the scheduler would. */
  const drain = (most = Number.POSITIVE_INFINITY): Seen[] => {
    const frames: Seen[] = [];
    while (outbox.ready && frames.length < most) {
      const frame = outbox.next();
      const bytes = wire(frame);
      const header = decodeHeader(bytes);
      assert.equal(header?.stream, 5);
      const { type = 0, flags = 0 } = header ?? {};
      const start = type === DATA ? binStart(bytes, FRAME_HEADER_BYTES, bytes.byteLength) : FRAME_HEADER_BYTES;
      assert.ok(start !== undefined, 'a data frame holds one bin');
      frames.push({ type, flags, body: bytes.subarray(start) });
      frame.sent?.();
    }
    return frames;
  };
  return { host, outbox, ends, drain };
}

const bodies = (frames: Seen[]) => Buffer.concat(frames.map(({ body }) => body));

test('bytes leave in order, in frames no larger than the limit', () => {
  const { outbox, drain } = make({ payloadBytes: 1000 });
  const sent = randomBytes(3500);
  outbox.pushBytes([sent.subarray(0, 2500), sent.subarray(2500)], none);
  assert.equal(outbox.queuedBytes, 3500);
  const frames = drain();
  assert.ok(frames.every(({ body, flags }) => body.byteLength <= 1000 && flags === 0));
  assert.ok(bodies(frames).equals(sent));
  assert.equal(outbox.queuedBytes, 0);
  assert.deepEqual(outbox.credit, { limit: 256 * KIB, sent: 3500 });
});

test('bytes stop at the credit and go on with more of it', () => {
  const { outbox, host, drain } = make({ limit: 10 });
  outbox.pushBytes([Buffer.from('0123456789abcdef')], none);
  assert.equal(bodies(drain()).toString(), '0123456789');
  assert.equal(outbox.ready, false);
  host.woken.clear();
  assert.equal(outbox.raise(9), false, 'a limit that fell');
  assert.equal(outbox.raise(10), true);
  assert.equal(host.woken.size, 0, 'the same limit again wakes nobody');
  assert.equal(outbox.raise(12), true);
  assert.equal(host.woken.size, 1);
  assert.equal(bodies(drain()).toString(), 'ab');
  outbox.raise(1000);
  assert.equal(bodies(drain()).toString(), 'cdef');
  assert.equal(outbox.credit.sent, 16);
});

test('nothing leaves without any credit, and END waits behind it', () => {
  const { outbox, drain, ends } = make({ limit: 0 });
  outbox.pushBytes([Buffer.from('x')], none);
  outbox.end();
  assert.deepEqual(drain(), []);
  assert.deepEqual(ends, []);
  outbox.raise(1);
  assert.deepEqual(drain(), [{ type: DATA, flags: FLAGS.END, body: Buffer.from('x') }]);
});

test('END rides on the last bytes, and needs no credit of its own', () => {
  const first = make({ limit: 4 });
  first.outbox.pushBytes([Buffer.from('last')], none);
  first.outbox.end();
  assert.deepEqual(
    first.drain().map(({ flags }) => flags),
    [FLAGS.END],
  );
  const second = make({ limit: 4 });
  second.outbox.pushBytes([Buffer.from('last')], none);
  second.drain();
  assert.equal(second.outbox.credit.sent, second.outbox.credit.limit);
  second.outbox.end();
  assert.deepEqual(second.drain(), [{ type: MECHANICS['stream.end'], flags: FLAGS.END, body: Buffer.alloc(0) }]);
  for (const { ends } of [first, second]) assert.deepEqual(ends, ['end']);
});

test('END is sent once, whoever asks for it', () => {
  const { outbox, drain, ends } = make();
  const calls: string[] = [];
  outbox.end(() => calls.push('first'));
  outbox.end();
  assert.equal(drain().length, 1);
  outbox.end(() => calls.push('late'));
  assert.deepEqual(drain(), []);
  assert.deepEqual(calls, ['first', 'late']);
  assert.deepEqual(ends, ['end']);
  assert.equal(outbox.endWanted, true);
});

test('a writer hears when its last byte has left, in order', () => {
  const { outbox, drain } = make({ limit: 7 });
  const calls: string[] = [];
  outbox.pushBytes([Buffer.from('abc'), Buffer.from('def')], () => calls.push('one'));
  outbox.pushBytes([Buffer.from('ghi')], () => calls.push('two'));
  outbox.end(() => calls.push('end'));
  drain();
  assert.deepEqual(calls, ['one'], 'the second chunk has only begun');
  outbox.raise(100);
  drain();
  assert.deepEqual(calls, ['one', 'two', 'end']);
});

test('small chunks that wait side by side share a frame', () => {
  const { outbox, drain } = make();
  const chunks = Array.from({ length: 300 }, (_, index) => Buffer.from(`${index};`));
  const calls: number[] = [];
  for (const [index, chunk] of chunks.entries()) outbox.pushBytes([chunk], () => calls.push(index));
  outbox.end();
  const frames = drain();
  assert.equal(frames.length, 1);
  assert.ok(bodies(frames).equals(Buffer.concat(chunks)));
  assert.equal(frames[0]?.flags, FLAGS.END);
  assert.deepEqual(
    calls,
    chunks.map((_, index) => index),
  );
});

test('merging keeps to the credit, the frame and the order', () => {
  const { outbox, drain } = make({ limit: 2500, payloadBytes: 1000 });
  const sent = randomBytes(6000);
  for (let at = 0; at < sent.byteLength; at += 300) outbox.pushBytes([sent.subarray(at, at + 300)], none);
  const first = drain();
  assert.deepEqual(
    first.map(({ body }) => body.byteLength),
    [1000, 1000, 500],
  );
  outbox.raise(6000);
  assert.ok(bodies([...first, ...drain()]).equals(sent));
});

test('merging stops at a message and at a large chunk', () => {
  const { outbox, drain } = make();
  outbox.pushBytes([Buffer.from('a'), Buffer.from('b')], none);
  outbox.pushMessage(MECHANICS.item, Buffer.from('message'), true);
  outbox.pushBytes([Buffer.from('c'), Buffer.from('d'), Buffer.alloc(20 * KIB, 'e'), Buffer.from('f')], none);
  const frames = drain();
  assert.deepEqual(
    frames.map(({ type, body }) => [type, body.byteLength]),
    [
      [DATA, 2],
      [MECHANICS.item, 7],
      [DATA, 2],
      [DATA, 20 * KIB],
      [DATA, 1],
    ],
  );
});

test('a large chunk leaves uncopied', () => {
  const { outbox } = make();
  const chunk = Buffer.alloc(10_000);
  outbox.pushBytes([chunk], none);
  assert.equal(outbox.next().body, chunk);
});

test('a long message leaves in fragments with MORE on all but the last', () => {
  const { outbox, drain } = make({ payloadBytes: 1000 });
  const message = randomBytes(2500);
  outbox.pushMessage(MECHANICS.item, message, true);
  outbox.end();
  const frames = drain();
  assert.deepEqual(
    frames.map(({ type, flags, body }) => [type, flags, body.byteLength]),
    [
      [MECHANICS.item, FLAGS.MORE, 1000],
      [MECHANICS.item, FLAGS.MORE, 1000],
      [MECHANICS.item, FLAGS.END, 500],
    ],
  );
  assert.ok(bodies(frames).equals(message));
});

test('an item uses credit to its last byte, and a reply or trailer uses none', () => {
  const { outbox, drain } = make({ limit: 3 });
  outbox.pushMessage(MECHANICS.reply, Buffer.from('reply'), false);
  outbox.pushMessage(MECHANICS.item, Buffer.from('item'), true);
  outbox.pushMessage(MECHANICS.trailer, Buffer.from('trailer'), false);
  const first = drain();
  assert.deepEqual(
    first.map(({ type, flags, body }) => [type, flags, body.toString()]),
    [
      [MECHANICS.reply, 0, 'reply'],
      [MECHANICS.item, FLAGS.MORE, 'ite'],
    ],
  );
  assert.equal(outbox.credit.sent, 3);
  outbox.raise(4);
  assert.deepEqual(
    drain().map(({ type, body }) => [type, body.toString()]),
    [
      [MECHANICS.item, 'm'],
      [MECHANICS.trailer, 'trailer'],
    ],
  );
  assert.equal(outbox.credit.sent, 4);
});

test('nothing leaves before the reply', () => {
  const { outbox, host, drain } = make({ held: true });
  outbox.pushBytes([Buffer.from('x')], none);
  outbox.end();
  assert.deepEqual(drain(), []);
  assert.equal(host.woken.size, 0);
  outbox.release();
  assert.equal(host.woken.size, 1);
  assert.equal(bodies(drain()).toString(), 'x');
});

test('a failure tells every writer, and sends nothing more', () => {
  const { outbox, drain, ends } = make({ limit: 2 });
  const calls: unknown[] = [];
  outbox.pushBytes([Buffer.from('abcd')], (error) => calls.push(['bytes', error]));
  outbox.pushMessage(MECHANICS.item, Buffer.from('item'), true, (error) => calls.push(['item', error]));
  outbox.end((error) => calls.push(['end', error]));
  drain();
  const error = new Error('cut');
  outbox.fail(error);
  assert.deepEqual(calls, [
    ['bytes', error],
    ['item', error],
    ['end', error],
  ]);
  assert.equal(outbox.queuedBytes, 0);
  outbox.raise(1000);
  assert.equal(outbox.ready, false);
  assert.deepEqual(ends, [], 'an END that never left is not told of');
});

test('discarding counts as sent, and still ends', () => {
  const { outbox, drain } = make({ limit: 0 });
  const calls: unknown[] = [];
  outbox.pushBytes([Buffer.from('abcd')], (error) => calls.push(error));
  outbox.discard();
  assert.deepEqual(calls, [undefined]);
  assert.deepEqual(drain(), [{ type: MECHANICS['stream.end'], flags: FLAGS.END, body: Buffer.alloc(0) }]);
});

test('discarding ends before it tells the writers, who might else write on', () => {
  const { outbox } = make({ limit: 0 });
  const seen: boolean[] = [];
  outbox.pushBytes([Buffer.from('abcd')], () => seen.push(outbox.endWanted));
  outbox.discard();
  assert.deepEqual(seen, [true]);
});

test('time without credit is counted, and only while bytes wait for it', () => {
  const { outbox, host, drain } = make({ limit: 4 });
  host.clock.advance(1000);
  outbox.pushBytes([Buffer.from('abcdef')], none);
  host.clock.advance(500);
  assert.equal(bodies(drain()).toString(), 'abcd');
  host.clock.advance(70);
  outbox.raise(100);
  assert.equal(host.starvedMs, 70);
  host.clock.advance(500);
  drain();
  assert.equal(host.starvedMs, 70);
});

test('a stream that is reset while it starves counts its time until then', () => {
  const { outbox, host } = make({ limit: 0 });
  outbox.pushBytes([Buffer.from('a')], none);
  host.clock.advance(30);
  outbox.fail(new Error('reset'));
  host.clock.advance(30);
  assert.equal(host.starvedMs, 30);
});
