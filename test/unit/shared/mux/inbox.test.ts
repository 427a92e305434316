import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isFairleadError } from '../../../../shared/errors.ts';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import { Inbox } from '../../../../shared/mux/inbox.ts';
import type { SessionLimits } from '../../../../shared/mux/session-limits.ts';
import type { Inbound } from '../../../../shared/mux/stream-role.ts';
import { FakeHost } from './fake-host.ts';

const WINDOW = 1000;
const ONE = Buffer.of(1);
const NO_PARTS: readonly Uint8Array[] = [];
const { item: ITEM, reply: REPLY, trailer: TRAILER } = MECHANICS;

function make(options: { inbound?: Inbound; limits?: Partial<SessionLimits> } = {}) {
  const host = new FakeHost({
    initialWindowBytes: WINDOW,
    maxWindowBytes: 8 * WINDOW,
    windowShareBytes: 100,
    messageBytes: 5000,
    ...options.limits,
  });
  host.roundTripMs = 1;
  const grants: number[] = [];
  const inbox = new Inbox(host, options.inbound ?? 'bytes', (limit) => grants.push(limit));
  const changes = { count: 0 };
  inbox.onChange = () => {
    changes.count += 1;
  };
  return { host, inbox, grants, changes };
}

function readAll(inbox: Inbox): Buffer {
  const chunks: Uint8Array[] = [];
  for (let chunk = inbox.nextChunk(); chunk !== undefined; chunk = inbox.nextChunk()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

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

test('what has come may be read after the end, earns nothing, and counts until it is taken', () => {
  const { inbox, grants, host, changes } = make();
  inbox.data(Buffer.alloc(800), NO_PARTS);
  inbox.end();
  inbox.end();
  assert.equal(inbox.ended, true);
  assert.equal(changes.count, 2);
  assert.equal(readAll(inbox).byteLength, 800);
  assert.equal(host.windowBytes, 800);
  inbox.taken(500);
  assert.equal(host.windowBytes, 300);
  inbox.taken(300);
  assert.deepEqual(grants, []);
  assert.equal(host.windowBytes, 0);
});

test('discarding gives all credit back and keeps nothing', () => {
  const { inbox, grants } = make();
  inbox.data(Buffer.alloc(900), NO_PARTS);
  inbox.discard();
  assert.equal(inbox.nextChunk(), undefined);
  assert.equal(grants.length, 1);
  for (let round = 0; round < 20; round += 1) {
    inbox.data(Buffer.alloc(inbox.window.limit - inbox.window.received), NO_PARTS);
    assert.equal(inbox.nextChunk(), undefined);
  }
  assert.equal(grants.length, 21, 'the sender never stalls');
  assert.equal(inbox.window.taken, inbox.window.received);
});

test('a chunk that was handed out before the rest was discarded earns its credit once', () => {
  const { inbox } = make();
  inbox.data(Buffer.alloc(600), NO_PARTS);
  const held = inbox.nextChunk();
  inbox.discard();
  inbox.taken(held?.byteLength ?? 0);
  const { taken, received } = inbox.window;
  assert.ok(taken <= received, `${taken} of ${received} bytes were taken`);
});

/** Ways in which a stream's receiving end goes, from any state it may be in. */
const ENDINGS: [name: string, end: (inbox: Inbox) => void][] = [
  [
    'end, and all was taken',
    (inbox) => {
      inbox.end();
      inbox.taken(inbox.window.received - inbox.window.taken);
    },
  ],
  [
    'end, then discard',
    (inbox) => {
      inbox.end();
      inbox.discard();
    },
  ],
  ['close', (inbox) => inbox.close()],
  [
    'end, then close',
    (inbox) => {
      inbox.end();
      inbox.close();
    },
  ],
  [
    'discard, then end',
    (inbox) => {
      inbox.discard();
      inbox.end();
    },
  ],
  [
    'close, taking afterwards',
    (inbox) => {
      inbox.close();
      inbox.taken(100);
      inbox.close();
    },
  ],
];

const BEFORE: [name: string, run: (inbox: Inbox) => void][] = [
  ['nothing', () => undefined],
  ['unread bytes', (inbox) => inbox.data(Buffer.alloc(700), NO_PARTS)],
  [
    'bytes that were taken, and a window that grew',
    (inbox) => {
      inbox.data(Buffer.alloc(WINDOW), NO_PARTS);
      readAll(inbox);
      inbox.taken(WINDOW);
      inbox.data(Buffer.alloc(300), NO_PARTS);
    },
  ],
  [
    'an unread item and half of another',
    (inbox) => {
      inbox.item(ONE, 200);
      inbox.fragment(ITEM, Buffer.alloc(200), false);
      inbox.fragment(ITEM, Buffer.alloc(300), true);
    },
  ],
];

for (const [before, run] of BEFORE) {
  for (const [name, end] of ENDINGS) {
    test(`no window leaks: ${before}, then ${name}`, () => {
      const { inbox, host } = make();
      assert.equal(host.windowBytes, WINDOW);
      run(inbox);
      assert.equal(host.windowBytes, inbox.window.limit - inbox.window.taken);
      end(inbox);
      assert.equal(host.windowBytes, 0);
    });
  }
}
