/** Every way to break the protocol ends the session with its code, and nothing else. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import type { ErrorCode } from '../../shared/errors.ts';
import { goaway, heartbeat, heartbeatAck, hello, ping, welcome } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { callKind, execKind, HELLO, listKind, pipeKind, serverOnlyKind, settle } from '../support/mux.ts';
import type { RawPeer } from '../support/raw-peer.ts';
import { type RawSession, rawSession, readyRawSession } from '../support/raw-session.ts';

const { OPEN, END, MORE, DEFLATED } = FLAGS;
const PIPE = 1;
const CALL_ID = 3;
const WINDOW = 256 * 1024;
const text = { text: '' };
const deep = Buffer.alloc(300, 0x91);
const huge = Buffer.from('ddffffffff', 'hex');

/** Stream 1 is an open pipe, answered; streams 2 and 4 are a list and a pipe that the session has opened itself. */
async function prepared(): Promise<RawSession> {
  const raw = await readyRawSession({ onStream: (stream) => answer(stream) });
  raw.peer.open(pipeKind, PIPE, {}, OPEN);
  raw.session.open(listKind, {});
  raw.session.open(execKind, {});
  await settle();
  assert.equal(raw.session.openStreams, 3);
  return raw;
}

function answer(stream: MuxStream): void {
  if (stream.kind.code === pipeKind.code) stream.sendReply({});
}

const LIST = 2;
const EXEC = 4;
const item = (n: number) => ({ n });

const violations: [name: string, code: ErrorCode, act: (peer: RawPeer) => void][] = [
  ['an empty message', 'PROTOCOL_ERROR', (peer) => peer.raw(Buffer.alloc(0))],
  ['a frame shorter than a header', 'PROTOCOL_ERROR', (peer) => peer.raw('00050000000000')],
  ['a frame beyond the limit', 'FRAME_TOO_LARGE', (peer) => peer.data(PIPE, 1024 * 1024)],
  ['a text message', 'PROTOCOL_ERROR', (peer) => peer.transport.violate('a text message')],
  ['each unknown flag', 'PROTOCOL_ERROR', (peer) => peer.frame(callKind.code, CALL_ID, OPEN | END | 0x10, text)],
  ['a compressed frame', 'PROTOCOL_ERROR', (peer) => peer.data(PIPE, 4, DEFLATED)],
  ['flags on the control stream', 'PROTOCOL_ERROR', (peer) => peer.frame(ping.code, 0, END, { id: 1 })],
  ['an unknown control type', 'PROTOCOL_ERROR', (peer) => peer.frame(0x00ff, 0, 0, {})],
  ['a control type on a stream', 'PROTOCOL_ERROR', (peer) => peer.frame(ping.code, PIPE, 0, { id: 1 })],
  ['a mechanic on the control stream', 'PROTOCOL_ERROR', (peer) => peer.data(0, 1)],
  [
    'a control message of the wrong end',
    'PROTOCOL_ERROR',
    (peer) => peer.frame(heartbeatAck.code, 0, 0, { seq: 1, time: 1 }),
  ],
  ['a second hello', 'PROTOCOL_ERROR', (peer) => peer.frame(hello.code, 0, 0, HELLO)],
  ['a control message beside its schema', 'MESSAGE_INVALID', (peer) => peer.frame(heartbeat.code, 0, 0, { seq: -1 })],
  [
    'a control message of no bytes',
    'MESSAGE_INVALID',
    (peer) => peer.raw(encodeFrame(ping.code, 0, 0, Buffer.alloc(0))),
  ],
  ['nested MessagePack in control', 'MESSAGE_INVALID', (peer) => peer.raw(encodeFrame(ping.code, 0, 0, deep))],
  [
    'nested MessagePack in parameters',
    'MESSAGE_INVALID',
    (peer) => peer.raw(encodeFrame(callKind.code, CALL_ID, OPEN | END, deep)),
  ],
  [
    'a huge count in parameters',
    'MESSAGE_INVALID',
    (peer) => peer.raw(encodeFrame(callKind.code, CALL_ID, OPEN | END, huge)),
  ],
  ['nested MessagePack in a reply', 'MESSAGE_INVALID', (peer) => peer.raw(encodeFrame(MECHANICS.reply, LIST, 0, deep))],
  [
    'a huge count in a window',
    'MESSAGE_INVALID',
    (peer) => peer.raw(encodeFrame(MECHANICS['stream.window'], PIPE, 0, huge)),
  ],
  ['bytes that are no bin', 'MESSAGE_INVALID', (peer) => peer.frame(MECHANICS['stream.data'], PIPE, 0, 'text')],
  ['an unknown kind', 'PROTOCOL_ERROR', (peer) => peer.frame(0x6fff, CALL_ID, OPEN | END, {})],
  ['a kind that the peer may not open', 'PROTOCOL_ERROR', (peer) => peer.open(serverOnlyKind, CALL_ID, text)],
  ['an id of the wrong parity', 'PROTOCOL_ERROR', (peer) => peer.open(callKind, 6, text)],
  ['an OPEN on the control stream', 'PROTOCOL_ERROR', (peer) => peer.open(callKind, 0, text)],
  ['an id that is used again', 'PROTOCOL_ERROR', (peer) => peer.open(callKind, PIPE, text)],
  ['an OPEN with MORE', 'PROTOCOL_ERROR', (peer) => peer.open(callKind, CALL_ID, text, OPEN | END | MORE)],
  [
    'an OPEN that ends where bytes must follow',
    'PROTOCOL_ERROR',
    (peer) => peer.open(pipeKind, CALL_ID, {}, OPEN | END),
  ],
  [
    'an OPEN that does not end where nothing may follow',
    'PROTOCOL_ERROR',
    (peer) => peer.open(callKind, CALL_ID, text, OPEN),
  ],
  ['a stream that was never opened', 'PROTOCOL_ERROR', (peer) => peer.data(99, 1)],
  ['a stream of ours that was never opened', 'PROTOCOL_ERROR', (peer) => peer.data(98, 1)],
  ['an unknown type on an open stream', 'PROTOCOL_ERROR', (peer) => peer.frame(0x01ff, PIPE, 0, {})],
  [
    'a session.ack on a stream',
    'PROTOCOL_ERROR',
    (peer) => peer.frame(MECHANICS['session.ack'], PIPE, 0, { bytes: 0 }),
  ],
  ['bytes beyond the credit', 'FLOW_CONTROL_ERROR', (peer) => [peer.data(PIPE, WINDOW), peer.data(PIPE, 1)]],
  ['bytes beyond the credit in one frame', 'FLOW_CONTROL_ERROR', (peer) => peer.data(PIPE, WINDOW + 1)],
  [
    'a limit that falls',
    'FLOW_CONTROL_ERROR',
    (peer) => peer.frame(MECHANICS['stream.window'], PIPE, 0, { limit: WINDOW - 1 }),
  ],
  [
    'a limit beyond all numbers',
    'MESSAGE_INVALID',
    (peer) => peer.frame(MECHANICS['stream.window'], PIPE, 0, { limit: 2 ** 60 }),
  ],
  [
    'an ack of what was not sent',
    'PROTOCOL_ERROR',
    (peer) => peer.frame(MECHANICS['session.ack'], 0, 0, { bytes: 1e9 }),
  ],
  [
    'an ack that falls',
    'PROTOCOL_ERROR',
    (peer) => [50, 49].map((bytes) => peer.frame(MECHANICS['session.ack'], 0, 0, { bytes })),
  ],
  ['bytes after END', 'PROTOCOL_ERROR', (peer) => [peer.data(PIPE, 1, END), peer.data(PIPE, 1)]],
  [
    'END twice',
    'PROTOCOL_ERROR',
    (peer) => [1, 2].map(() => peer.raw(encodeFrame(MECHANICS['stream.end'], PIPE, END, Buffer.alloc(0)))),
  ],
  [
    'an end frame without END',
    'PROTOCOL_ERROR',
    (peer) => peer.raw(encodeFrame(MECHANICS['stream.end'], PIPE, 0, Buffer.alloc(0))),
  ],
  ['an end frame with a payload', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS['stream.end'], PIPE, END, 1)],
  ['bytes with MORE', 'PROTOCOL_ERROR', (peer) => peer.data(PIPE, 1, MORE)],
  ['END on a window', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS['stream.window'], PIPE, END, { limit: WINDOW })],
  ['an item from an opener', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS.item, PIPE, 0, item(1))],
  ['a reply from an opener', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS.reply, PIPE, 0, {})],
  ['a signal on a kind without', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS['stream.signal'], PIPE, 0, {})],
  [
    'a signal from an acceptor',
    'PROTOCOL_ERROR',
    (peer) => peer.frame(MECHANICS['stream.signal'], EXEC, 0, { resize: 1 }),
  ],
  [
    'bytes on a kind without',
    'PROTOCOL_ERROR',
    (peer) => [peer.frame(MECHANICS.reply, LIST, 0, {}), peer.data(LIST, 1)],
  ],
  ['an item before the reply', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS.item, LIST, 0, item(1))],
  [
    'END before the reply',
    'PROTOCOL_ERROR',
    (peer) => peer.raw(encodeFrame(MECHANICS['stream.end'], LIST, END, Buffer.alloc(0))),
  ],
  ['a second reply', 'PROTOCOL_ERROR', (peer) => [1, 2].map(() => peer.frame(MECHANICS.reply, LIST, 0, {}))],
  [
    'a trailer on a kind without',
    'PROTOCOL_ERROR',
    (peer) => [peer.frame(MECHANICS.reply, LIST, 0, {}), peer.frame(MECHANICS.trailer, LIST, 0, {})],
  ],
  [
    'an item on a kind without',
    'PROTOCOL_ERROR',
    (peer) => [peer.frame(MECHANICS.reply, EXEC, 0, {}), peer.frame(MECHANICS.item, EXEC, 0, item(1))],
  ],
  [
    'END without the trailer',
    'PROTOCOL_ERROR',
    (peer) => [peer.frame(MECHANICS.reply, EXEC, 0, {}), peer.data(EXEC, 1, END)],
  ],
  [
    'bytes after the trailer',
    'PROTOCOL_ERROR',
    (peer) => [
      peer.frame(MECHANICS.reply, EXEC, 0, {}),
      peer.frame(MECHANICS.trailer, EXEC, 0, { code: 0 }),
      peer.data(EXEC, 1),
    ],
  ],
  [
    'a message inside another',
    'PROTOCOL_ERROR',
    (peer) => [
      peer.frame(MECHANICS.reply, EXEC, 0, {}),
      peer.frame(MECHANICS.trailer, EXEC, MORE, { code: 0 }),
      peer.data(EXEC, 1),
    ],
  ],
  ['a message with MORE and END', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS.reply, LIST, MORE | END, {})],
  [
    'END inside a message',
    'PROTOCOL_ERROR',
    (peer) => [
      peer.frame(MECHANICS.reply, LIST, 0, {}),
      peer.frame(MECHANICS.item, LIST, MORE, item(1)),
      peer.raw(encodeFrame(MECHANICS['stream.end'], LIST, END, Buffer.alloc(0))),
    ],
  ],
];

describe('a session whose peer breaks the protocol', () => {
  for (const [name, code, act] of violations) {
    test(`${name}: ${code}`, async () => {
      const { session, peer, streams } = await prepared();
      act(peer);
      const end = await session.closed;
      assert.equal(end.code, code, end.reason);
      assert.equal(end.by, 'local');
      await settle();
      assert.equal(peer.goawayCode, code, 'the peer is told');
      assert.equal(session.openStreams, 0);
      assert.equal((await streams[0]?.closed)?.code, 'STREAM_INTERRUPTED');
    });
  }

  test('a reply of pieces beyond the limit on messages', async () => {
    const { session, peer } = await prepared();
    for (let sent = 0; sent <= 4; sent += 0.5)
      peer.raw(encodeFrame(MECHANICS.reply, LIST, MORE, Buffer.alloc(512 * 1024)));
    assert.equal((await session.closed).code, 'MESSAGE_INVALID');
  });
});

describe('before the greeting is over', () => {
  const early: [name: string, code: ErrorCode, act: (peer: RawPeer) => void][] = [
    ['a stream', 'PROTOCOL_ERROR', (peer) => peer.open(callKind, 1, text)],
    ['a ping', 'PROTOCOL_ERROR', (peer) => peer.frame(ping.code, 0, 0, { id: 1 })],
    ['an ack', 'PROTOCOL_ERROR', (peer) => peer.frame(MECHANICS['session.ack'], 0, 0, { bytes: 0 })],
    ['a welcome from the agent', 'PROTOCOL_ERROR', (peer) => peer.frame(welcome.code, 0, 0, {})],
    ['two hellos', 'PROTOCOL_ERROR', (peer) => [peer.greet(), peer.greet()]],
    [
      'a hello beyond 4 KiB',
      'FRAME_TOO_LARGE',
      (peer) => peer.frame(hello.code, 0, 0, { ...HELLO, more: 'x'.repeat(4096) }),
    ],
    ['a hello that is none', 'MESSAGE_INVALID', (peer) => peer.frame(hello.code, 0, 0, { versions: [] })],
    ['nested MessagePack', 'MESSAGE_INVALID', (peer) => peer.raw(encodeFrame(hello.code, 0, 0, deep))],
  ];
  for (const [name, code, act] of early) {
    test(`${name}: ${code}`, async () => {
      const { session, peer } = rawSession();
      act(peer);
      assert.equal((await session.closed).code, code);
    });
  }

  test('a goaway of a code that nobody knows is kept as text', async () => {
    const { session, peer } = rawSession();
    peer.frame(goaway.code, 0, 0, { code: 'FROM_THE_FUTURE', reason: 'why not', lastStream: 0 });
    assert.deepEqual(await session.closed, { code: 'INTERNAL', reason: 'FROM_THE_FUTURE: why not', by: 'remote' });
  });
});

describe('what costs one stream only', () => {
  test('parameters beside their schema', async () => {
    const { session, peer, streams } = await readyRawSession();
    peer.open(callKind, 1, { text: 1 });
    peer.open(callKind, 3, text);
    await settle();
    assert.deepEqual(peer.resets, new Map([[1, 'MESSAGE_INVALID']]));
    assert.deepEqual(
      streams.map((stream) => stream.id),
      [3],
    );
    assert.equal(session.draining, false);
  });

  test('a reply, an item and a signal beside their schema', async () => {
    const { session, peer, streams } = await readyRawSession();
    const list = session.open(listKind, {});
    const call = session.open(callKind, text);
    peer.open(execKind, 1, {}, OPEN);
    await settle();
    peer.frame(MECHANICS.reply, list.id, 0, {});
    peer.frame(MECHANICS.item, list.id, 0, { n: 'one' });
    peer.frame(MECHANICS.reply, call.id, END, { text: 1 });
    peer.frame(MECHANICS['stream.signal'], 1, 0, { resize: 'large' });
    for (const stream of [list, call, ...streams]) assert.equal((await stream.closed)?.code, 'MESSAGE_INVALID');
    await settle();
    assert.equal(peer.resets.size, 3);
    assert.equal(session.draining, false);
  });

  test('__proto__ ends the session, and no object has changed', async () => {
    const { session, peer } = await prepared();
    peer.raw(
      encodeFrame(
        callKind.code,
        CALL_ID,
        OPEN | END,
        Buffer.concat([Buffer.from([0x81]), encode('__proto__'), encode({ polluted: true })]),
      ),
    );
    assert.equal((await session.closed).code, 'MESSAGE_INVALID');
    assert.equal('polluted' in {}, false);
  });
});

test('a frame cut at every offset ends its session at most', async () => {
  const frames = [
    encodeFrame(callKind.code, CALL_ID, OPEN | END, encode({ text: 'x'.repeat(40) })),
    encodeFrame(MECHANICS['stream.window'], PIPE, 0, encode({ limit: 2 ** 40 })),
    encodeFrame(MECHANICS['stream.reset'], PIPE, 0, encode({ code: 'CANCELLED', message: 'why' })),
    encodeFrame(ping.code, 0, 0, encode({ id: 2 ** 40 })),
    encodeFrame(MECHANICS['stream.data'], PIPE, 0, encode(new Uint8Array(20))),
  ];
  for (const frame of frames) {
    for (let length = 0; length < frame.byteLength; length += 1) {
      const { session, peer } = await prepared();
      peer.raw(frame.subarray(0, length));
      assert.match((await session.closed).code, /^(PROTOCOL_ERROR|MESSAGE_INVALID)$/);
    }
  }
});
