/** The receiving end of a stream when it ends: what has come can be read, credit comes back, and no window leaks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import type { Inbox } from '../../../../shared/mux/inbox.ts';
import { make, NO_PARTS, ONE, readAll, WINDOW } from './inbox-fixture.ts';

const { item: ITEM } = MECHANICS;

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
