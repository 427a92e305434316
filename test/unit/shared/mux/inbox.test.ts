/** The receiving end of a stream: bytes, messages and their fragments, and the credit that they use. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isFairleadError } from '../../../../shared/errors.ts';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import type { Inbox } from '../../../../shared/mux/inbox.ts';
import { make, NO_PARTS, ONE, readAll, WINDOW } from './inbox-fixture.ts';

const { item: ITEM, reply: REPLY, trailer: TRAILER } = MECHANICS;

/** A message in fragments of one size. */
function feed(inbox: Inbox, type: number, bytes: Uint8Array, size: number) {
  for (let at = 0; ; at += size) {
    const more = at + size < bytes.byteLength;
    const whole = inbox.fragment(type, bytes.subarray(at, at + size), more);
    if (!more || whole === 'no room') return whole;
    assert.equal(whole, undefined);
  }
}

test('bytes come out as they came in, whatever their pieces', () => {
  const { inbox } = make({ limits: { initialWindowBytes: 100_000 } });
  const sent = randomBytes(60_000);
  inbox.data(sent.subarray(0, 10), [sent.subarray(10, 20), sent.subarray(20, 5000)]);
  inbox.data(sent.subarray(5000, 5000), NO_PARTS);
  inbox.data(sent.subarray(5000, 50_000), [sent.subarray(50_000)]);
  assert.ok(readAll(inbox).equals(sent));
});

test('small chunks that wait are put together', () => {
  const { inbox } = make({ limits: { initialWindowBytes: 100_000 } });
  for (let count = 0; count < 5000; count += 1) inbox.data(Buffer.of(count), NO_PARTS);
  let chunks = 0;
  while (inbox.nextChunk() !== undefined) chunks += 1;
  assert.equal(chunks, 1);
});

test('a few bytes do not keep a large buffer alive', () => {
  const { inbox } = make();
  const message = Buffer.alloc(1024 * 1024);
  inbox.data(message.subarray(100, 110), NO_PARTS);
  assert.ok((inbox.nextChunk()?.buffer.byteLength ?? 0) < 512 * 1024);
});

test('the application hears of bytes, but not of none', () => {
  const { inbox, changes } = make();
  inbox.data(new Uint8Array(0), NO_PARTS);
  assert.equal(changes.count, 0);
  inbox.data(Buffer.of(1), NO_PARTS);
  assert.equal(changes.count, 1);
});

test('a byte beyond the limit is a flow control error', () => {
  const { inbox } = make();
  inbox.data(Buffer.alloc(WINDOW - 1), NO_PARTS);
  assert.throws(
    () => inbox.data(Buffer.of(1), [Buffer.of(2)]),
    (error) => isFairleadError(error, 'FLOW_CONTROL_ERROR'),
  );
  inbox.data(Buffer.of(1), NO_PARTS);
  assert.throws(
    () => inbox.fragment(ITEM, Buffer.of(1), false),
    (error) => isFairleadError(error, 'FLOW_CONTROL_ERROR'),
  );
});

test('credit comes back when the application takes, not when bytes arrive or are looked at', () => {
  const { inbox, grants } = make();
  inbox.data(Buffer.alloc(WINDOW), NO_PARTS);
  readAll(inbox);
  assert.deepEqual(grants, []);
  inbox.taken(WINDOW / 2 - 1);
  assert.deepEqual(grants, []);
  inbox.taken(1);
  assert.equal(grants.length, 1);
  assert.equal(inbox.window.limit, grants[0]);
  assert.ok((grants[0] ?? 0) > WINDOW);
});

test('limits only rise', () => {
  const { inbox, grants } = make({ limits: { budgetBytes: 2500 } });
  for (let round = 0; round < 50; round += 1) {
    const bytes = inbox.window.limit - inbox.window.received;
    inbox.data(Buffer.alloc(bytes), NO_PARTS);
    readAll(inbox);
    inbox.taken(bytes);
  }
  assert.equal(grants.length, 50);
  assert.ok(grants.every((limit, index) => limit > (grants[index - 1] ?? WINDOW)));
});

test('only raw bytes earn a larger window', () => {
  const sizes = (['bytes', 'items'] as const).map((inbound) => {
    const { inbox } = make({ inbound });
    for (let round = 0; round < 10; round += 1) {
      const bytes = inbox.window.limit - inbox.window.received;
      inbox.data(Buffer.alloc(bytes), NO_PARTS);
      readAll(inbox);
      inbox.taken(bytes);
    }
    return inbox.window.limit - inbox.window.taken;
  });
  assert.deepEqual(sizes, [8 * WINDOW, WINDOW]);
});

test('a message in one frame is not copied', () => {
  const { inbox } = make();
  const payload = Buffer.from('message');
  const whole = inbox.fragment(REPLY, payload, false);
  assert.deepEqual(whole, { bytes: payload, credit: 0 });
  assert.equal(inbox.window.received, 0, 'a reply needs no credit');
});

test('an item uses credit, which comes back as it is taken', () => {
  const { inbox, grants } = make({ inbound: 'items' });
  const whole = inbox.fragment(ITEM, Buffer.alloc(600), false);
  assert.ok(typeof whole === 'object');
  assert.equal(whole.credit, 600);
  assert.equal(inbox.item(whole.bytes, whole.credit), true);
  assert.deepEqual(grants, []);
  assert.equal(inbox.nextItem()?.bytes.byteLength, 600);
  assert.deepEqual(grants, [1600]);
  assert.equal(inbox.nextItem(), undefined);
});

test('fragments come out as one message, and give their memory back', () => {
  const { inbox, host } = make();
  const message = randomBytes(4321);
  for (const type of [REPLY, TRAILER]) {
    const whole = feed(inbox, type, message, 1000);
    assert.ok(typeof whole === 'object' && message.equals(whole.bytes));
    assert.equal(inbox.assembling, false);
    assert.equal(host.assemblyBytes, 0);
  }
});

test('an item larger than the window completes', () => {
  const { inbox } = make({ inbound: 'items' });
  const message = randomBytes(4 * WINDOW);
  for (let at = 0; at < message.byteLength; at += 500) {
    assert.ok(inbox.window.limit - inbox.window.received >= 500, `no credit at ${at}`);
    const whole = inbox.fragment(ITEM, message.subarray(at, at + 500), at + 500 < message.byteLength);
    if (whole !== undefined) assert.ok(typeof whole === 'object' && message.equals(whole.bytes));
  }
});

test('a long item behind an unread one waits, and goes on when that is taken', () => {
  const { inbox, grants } = make({ inbound: 'items' });
  assert.ok(inbox.item(ONE, (inbox.fragment(ITEM, Buffer.alloc(100), false) as { credit: number }).credit));
  inbox.fragment(ITEM, Buffer.alloc(900), true);
  assert.deepEqual(grants, [], 'the sender stops here');
  assert.equal(inbox.window.received, inbox.window.limit);
  inbox.nextItem();
  assert.deepEqual(grants, [2000]);
  inbox.fragment(ITEM, Buffer.alloc(900), true);
  const whole = inbox.fragment(ITEM, Buffer.alloc(100), false);
  assert.ok(typeof whole === 'object');
  inbox.item(whole.bytes, whole.credit);
  inbox.nextItem();
  assert.equal(inbox.window.taken, inbox.window.received, 'no credit is lost');
});

test('a stream that brings nothing counts for nothing', () => {
  const { inbox, host, grants } = make({ inbound: 'nothing' });
  assert.equal(host.windowBytes, 0);
  feed(inbox, REPLY, Buffer.alloc(4000), 1000);
  inbox.discard();
  inbox.end();
  inbox.close();
  assert.equal(host.windowBytes, 0);
  assert.deepEqual(grants, []);
});

test('the round trip is asked for before bytes come, and while a window is used', () => {
  const { inbox, host } = make();
  assert.equal(host.measurements, 1);
  inbox.data(Buffer.alloc(WINDOW / 4 - 1), NO_PARTS);
  assert.equal(host.measurements, 1);
  inbox.data(ONE, NO_PARTS);
  assert.equal(host.measurements, 2);
  assert.equal(make({ inbound: 'items' }).host.measurements, 0);
});

test('a message must not begin inside another', () => {
  const { inbox } = make();
  inbox.fragment(ITEM, Buffer.of(1), true);
  assert.equal(inbox.assembling, true);
  assert.throws(
    () => inbox.fragment(TRAILER, Buffer.of(1), false),
    (error) => isFairleadError(error, 'PROTOCOL_ERROR'),
  );
});

test('a message may be as large as the limit and no larger', () => {
  const { inbox } = make();
  const largest = feed(inbox, REPLY, Buffer.alloc(5000), 1000);
  assert.ok(typeof largest === 'object' && largest.bytes.byteLength === 5000);
  assert.throws(
    () => feed(inbox, REPLY, Buffer.alloc(5001), 1000),
    (error) => isFairleadError(error, 'MESSAGE_INVALID'),
  );
});

test('a message for whose fragments there is no room is given up', () => {
  const { inbox, host } = make();
  host.assemblyRoom = 1500;
  assert.equal(feed(inbox, REPLY, Buffer.alloc(3000), 1000), 'no room');
  inbox.close();
  assert.equal(host.assemblyBytes, 0);
});

test('there is a limit on items that wait, however small', () => {
  const { inbox } = make();
  let waiting = 0;
  while (waiting < 100_000 && inbox.item(ONE, 0)) waiting += 1;
  assert.equal(waiting, 4_096);
  inbox.nextItem();
  assert.equal(inbox.item(ONE, 0), true);
});
