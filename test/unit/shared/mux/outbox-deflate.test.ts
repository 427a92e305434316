import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import { Deflation } from '../../../../shared/mux/deflate.ts';
import { binStart, decodeHeader, FLAGS, FRAME_HEADER_BYTES } from '../../../../shared/mux/frame.ts';
import { Outbox } from '../../../../shared/mux/outbox.ts';
import { FakeHost, wire } from './fake-host.ts';

const KIB = 1024;
const DATA = MECHANICS['stream.data'];
const { DEFLATED, END, MORE } = FLAGS;
/** 2 Mbit/s. */
const SLOW = 250_000;
const none = () => undefined;

interface Seen {
  type: number;
  flags: number;
  /** As the peer sees it once it is unpacked. */
  body: Buffer;
  wireBytes: number;
}

function make(
  options: { limit?: number; payloadBytes?: number; rate?: number | undefined; agreed?: boolean; kind?: boolean } = {},
) {
  const { limit = 256 * KIB, payloadBytes = 4 * KIB, agreed = true, kind = true } = options;
  const host = new FakeHost({ payloadBytes });
  host.deliveryRate = 'rate' in options ? options.rate : SLOW;
  const deflation = new Deflation(host.clock, 1024 * 1024 * KIB);
  if (agreed) host.deflation = deflation;
  const ends: string[] = [];
  const outbox = new Outbox(host, 5, { priority: 'bulk', limit, held: false, compressible: kind }, () =>
    ends.push('end'),
  );
  const drain = (): Seen[] => {
    const frames: Seen[] = [];
    while (outbox.ready) {
      const frame = outbox.next();
      const bytes = wire(frame);
      const { type = 0, flags = 0 } = decodeHeader(bytes) ?? {};
      const payload = bytes.subarray(FRAME_HEADER_BYTES);
      const raw = Buffer.from(flags & DEFLATED ? deflation.unpack(payload) : payload);
      const start = type === DATA ? binStart(raw, 0, raw.byteLength) : 0;
      assert.ok(start !== undefined, 'a data frame holds one bin');
      frames.push({ type, flags, body: raw.subarray(start), wireBytes: bytes.byteLength });
      frame.sent?.();
    }
    return frames;
  };
  return { host, outbox, ends, drain, deflation };
}

function lines(bytes: number): Buffer {
  let text = '';
  for (let n = 0; text.length < bytes; n += 1) text += `2026-11-21T03:00:${n % 60} worker ${n} took ${n * 7} ms\n`;
  return Buffer.from(text.slice(0, bytes));
}

const bodies = (frames: Seen[]) => Buffer.concat(frames.map(({ body }) => body));
const packed = (frames: Seen[]) => frames.filter(({ flags }) => flags & DEFLATED);

test('text leaves compressed, in frames that keep near the size of plain ones', () => {
  const { outbox, drain, deflation } = make();
  const text = lines(200 * KIB);
  outbox.pushBytes([text], none);
  const frames = drain();
  assert.equal(packed(frames).length, frames.length);
  assert.ok(bodies(frames).equals(text));
  assert.ok(frames.every(({ wireBytes }) => wireBytes <= 4 * KIB + FRAME_HEADER_BYTES));
  assert.ok(frames.length < 30, `${frames.length} frames`);
  assert.ok(deflation.sent.raw >= text.byteLength && deflation.sent.packed < text.byteLength / 3);
});

test('credit counts raw bytes, and no frame goes beyond it', () => {
  const { outbox, drain } = make({ limit: 10_000 });
  const text = lines(30_000);
  outbox.pushBytes([text], none);
  const first = drain();
  assert.equal(bodies(first).byteLength, 10_000);
  assert.deepEqual(outbox.credit, { limit: 10_000, sent: 10_000 });
  assert.equal(outbox.queuedBytes, 20_000);
  outbox.raise(30_000);
  assert.ok(bodies([...first, ...drain()]).equals(text));
});

for (const [what, options] of [
  ['a kind that may not be compressed', { kind: false }],
  ['a session that has not agreed on it', { agreed: false }],
  ['a link of unknown rate', { rate: undefined }],
  ['a fast link', { rate: 100_000_000 }],
] as const) {
  test(`nothing is compressed on ${what}`, () => {
    const { outbox, drain } = make(options);
    outbox.pushBytes([lines(50_000)], none);
    outbox.pushMessage(MECHANICS.item, lines(50_000), true);
    assert.deepEqual(packed(drain()), []);
  });
}

test('small payloads and packed bytes leave as they are', () => {
  const { outbox, drain } = make({ limit: 1024 * KIB });
  outbox.pushBytes([lines(511)], none);
  assert.deepEqual(packed(drain()), []);
  outbox.pushBytes([lines(512)], none);
  assert.equal(packed(drain()).length, 1);
  const noise = randomBytes(500 * KIB);
  outbox.pushBytes([noise], none);
  const frames = drain();
  assert.deepEqual(packed(frames), []);
  assert.ok(bodies(frames).equals(noise));
});

test('chunks of any size that wait side by side share a compressed frame, and each writer hears of its own', () => {
  const { outbox, drain } = make();
  const text = lines(40_000);
  const calls: string[] = [];
  const sizes = [10, 9000, 100, 700, 20_000, 1, 10_189];
  let at = 0;
  for (const size of sizes) {
    outbox.pushBytes([text.subarray(at, at + size)], () => calls.push(`${size}`));
    at += size;
  }
  outbox.end(() => calls.push('end'));
  const frames = drain();
  assert.ok(bodies(frames).equals(text));
  assert.deepEqual(calls, [...sizes.map(String), 'end']);
  assert.deepEqual(
    frames.map(({ flags }) => flags),
    frames.map((_, index) => (index === frames.length - 1 ? DEFLATED | END : DEFLATED)),
  );
});

test('a writer hears only when its last byte has left', () => {
  const { outbox } = make({ limit: 5000 });
  const calls: unknown[] = [];
  outbox.pushBytes([lines(3000)], () => calls.push('first'));
  outbox.pushBytes([lines(3000)], (error) => calls.push(error?.message ?? 'second'));
  while (outbox.ready) outbox.next().sent?.();
  assert.deepEqual(calls, ['first']);
  outbox.fail(new Error('reset'));
  assert.deepEqual(calls, ['first', 'reset']);
});

test('a long message is compressed piece by piece, with MORE on all but the last', () => {
  const { outbox, drain, ends } = make();
  const message = lines(100_000);
  outbox.pushMessage(MECHANICS.item, message, true);
  outbox.pushMessage(MECHANICS.trailer, Buffer.from('end'), false);
  outbox.end();
  const frames = drain();
  const items = frames.filter(({ type }) => type === MECHANICS.item);
  assert.ok(bodies(items).equals(message));
  assert.deepEqual(
    items.map(({ flags }) => flags),
    items.map((_, index) => (index === items.length - 1 ? DEFLATED : DEFLATED | MORE)),
  );
  assert.equal(outbox.credit.sent, message.byteLength);
  assert.deepEqual(frames.at(-1), { type: MECHANICS.trailer, flags: END, body: Buffer.from('end'), wireBytes: 11 });
  assert.deepEqual(ends, ['end']);
});

test('messages are never packed together, nor with bytes', () => {
  const { outbox, drain } = make();
  const text = lines(1000);
  outbox.pushBytes([text], none);
  outbox.pushMessage(MECHANICS.item, text, true);
  outbox.pushMessage(MECHANICS.item, text, true);
  outbox.pushBytes([text], none);
  const frames = drain();
  assert.deepEqual(
    frames.map(({ type, flags, body }) => [type, flags, body.byteLength]),
    [DATA, MECHANICS.item, MECHANICS.item, DATA].map((type) => [type, DEFLATED, 1000]),
  );
});

test('a link that becomes fast is no longer compressed for', () => {
  const { outbox, host, drain } = make();
  outbox.pushBytes([lines(10_000)], none);
  assert.ok(packed(drain()).length > 0);
  host.deliveryRate = 50_000_000;
  outbox.pushBytes([lines(10_000)], none);
  assert.deepEqual(packed(drain()), []);
});
