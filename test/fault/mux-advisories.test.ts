/** What has brought down other multiplexers, by the names of their advisories: here it ends one session, if any. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { INITIAL_WINDOW_BYTES, MAX_OPEN_STREAMS, MAX_STREAM_OFFSET } from '../../shared/limits.ts';
import { ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { callKind, pipeKind, settle } from '../support/mux.ts';
import {
  chunk,
  ended,
  flood,
  HIGH_WATER_BYTES,
  held,
  networkWithNeighbour,
  OPENS_AT_ONCE,
  openFrame,
  pack,
  scene,
} from '../support/mux-advisories.ts';
import { WS, wireSession, wsFrame } from '../support/raw-wire.ts';
import { waitFor, within } from '../support/wait.ts';

const { OPEN, MORE } = FLAGS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];

const text = { text: '' };

const { network, nextDoor } = await networkWithNeighbour();

describe('CVE-2024-32984, yamux: frames that wait for a peer that does not read', () => {
  test('answers of any size: what waits is bounded by the streams, and refusals beyond them end the session', async () => {
    const answer = 'x'.repeat(16 * 1024);
    const raw = await wireSession(network, (stream) => stream.sendReply({ text: answer }));
    raw.wire.pause();
    let most = 0;
    await nextDoor.meanwhile(() =>
      flood(raw, 2 * OPENS_AT_ONCE, (index) => {
        most = Math.max(most, held(raw));
        return openFrame(callKind, 2 * index + 1, text);
      }),
    );
    await within(5000, 'the end', raw.session.closed);
    await ended(raw, 'OVERLOADED', /does not read/);
    // Answers in the control queue keep to its half; the others stand for an open stream each.
    const bound = 8 * 1024 * 1024 + MAX_OPEN_STREAMS * answer.length + 2 * HIGH_WATER_BYTES;
    assert.ok(most < 1.25 * bound, `${most} bytes waited`);
  });

  test('pongs: 64 of them wait, whatever else waits', async () => {
    const answer = { text: 'x'.repeat(16 * 1024 - 100) };
    const raw = await wireSession(network, (stream) => stream.sendReply(answer));
    raw.wire.pause();
    let id = -1;
    // Short answers leave as control frames, so these fill all that the kernel takes.
    const fill = async () => {
      while (raw.session.stats.socketBlockedMs === 0 && id < 8000) {
        id += 2;
        await raw.wire.frames(openFrame(callKind, id, text));
        await settle(2);
      }
    };
    await nextDoor.meanwhile(fill);
    assert.equal(raw.session.draining, false);
    await nextDoor.meanwhile(() => flood(raw, 900, (each) => encodeFrame(ping.code, 0, 0, pack({ id: each }))));
    await ended(raw, 'PROTOCOL_ERROR', /pongs/);
    raw.wire.destroy();
  });
});

describe('CVE-2026-31814, yamux: a window that overflows what counts it', () => {
  const float = (value: number) => {
    const bytes = Buffer.alloc(9, 0xcb);
    bytes.writeDoubleBE(value, 1);
    return bytes;
  };
  const u64 = (value: bigint) => {
    const bytes = Buffer.alloc(9, 0xcf);
    bytes.writeBigUInt64BE(value, 1);
    return bytes;
  };
  /** `{limit: …}` with any number for it. */
  const limitOf = (number: Uint8Array) => Buffer.concat([Buffer.of(0x81, 0xa5), Buffer.from('limit'), number]);

  test('the highest limit of all changes no arithmetic: bytes flow, and it may come again', async () => {
    const raw = await scene();
    const pipe = raw.session.open(pipeKind, {});
    raw.peer.frame(MECHANICS.reply, pipe.id, 0, {});
    for (let again = 0; again < 3; again += 1)
      raw.peer.raw(encodeFrame(WINDOW, pipe.id, 0, limitOf(u64(2n ** 53n - 1n))));
    pipe.bytes.write(Buffer.alloc(1000));
    await settle();
    assert.deepEqual([pipe.flow.sendLimit, pipe.flow.sent], [MAX_STREAM_OFFSET, 1000]);
    raw.peer.frame(WINDOW, pipe.id, 0, { limit: MAX_STREAM_OFFSET - 1 });
    await ended(raw, 'FLOW_CONTROL_ERROR');
  });

  const beyond: [string, Uint8Array][] = [
    ['2^53', u64(2n ** 53n)],
    ['2^63', u64(2n ** 63n)],
    ['2^64 - 1', u64(2n ** 64n - 1n)],
    ['2^53 as a double', float(2 ** 53)],
    ['infinity', float(Number.POSITIVE_INFINITY)],
    ['not a number', float(Number.NaN)],
    ['a fraction', float(300_000.5)],
    ['-1', Buffer.of(0xff)],
    ['-2^63', Buffer.concat([Buffer.of(0xd3, 0x80), Buffer.alloc(7)])],
    ['nothing', Buffer.of(0xc0)],
  ];
  for (const [what, number] of beyond) {
    test(`a limit of ${what}`, async () => {
      const raw = await scene();
      const { id } = raw.session.open(pipeKind, {});
      await settle();
      raw.peer.raw(encodeFrame(WINDOW, id, 0, limitOf(number)));
      await nextDoor.meanwhile(() => ended(raw, 'MESSAGE_INVALID'));
    });
  }
});

describe('CVE-2026-32314, yamux: more data than the window right behind the open', () => {
  for (const bytes of [INITIAL_WINDOW_BYTES + 1, 1024 * 1024 - 100]) {
    test(`${bytes} bytes in the same write`, async () => {
      const streams: MuxStream[] = [];
      const raw = await wireSession(network, (stream) => streams.push(stream));
      await raw.wire.frames(openFrame(pipeKind, 1, {}, OPEN), encodeFrame(DATA, 1, 0, chunk(bytes)));
      await nextDoor.meanwhile(() => ended(raw, 'FLOW_CONTROL_ERROR'));
      assert.equal(streams.length, 1);
      assert.equal((await streams[0]?.closed)?.code, 'STREAM_INTERRUPTED');
    });
  }

  test('in the OPEN itself: the parameters do not fit, and the session goes on', async () => {
    const raw = await wireSession(network);
    await raw.wire.frames(openFrame(pipeKind, 1, new Uint8Array(INITIAL_WINDOW_BYTES + 1), OPEN));
    // `bin` is for bytes alone, so this is no value that may be decoded.
    await nextDoor.meanwhile(() => ended(raw, 'MESSAGE_INVALID'));
    const other = await wireSession(network);
    await other.wire.frames(openFrame(pipeKind, 1, 'x'.repeat(INITIAL_WINDOW_BYTES + 1), OPEN));
    await waitFor('the reset', () => other.wire.resets === 1);
    assert.equal(other.session.draining, false);
    other.wire.destroy();
  });

  test('behind an open that was refused: dropped', async () => {
    const raw = await wireSession(network);
    const data = encodeFrame(DATA, 1, 0, chunk(1024 * 1024 - 100));
    await raw.wire.frames(openFrame(pipeKind, 1, { wrong: 1 }, OPEN), openFrame(callKind, 3, 7), data, data, data);
    await waitFor('the frames', () => raw.session.stats.framesDropped >= 3 || raw.session.draining);
    raw.wire.destroy();
  });
});

describe('CVE-2024-27316, HTTP/2 CONTINUATION, and CVE-2026-48779, ws: pieces without end', () => {
  test('a message under MORE without end', async () => {
    const raw = await wireSession(network);
    const { id } = raw.session.open(callKind, text);
    const piece = encodeFrame(MECHANICS.reply, id, MORE, Buffer.alloc(1024, 0x80));
    await nextDoor.meanwhile(() => flood(raw, 10_000, () => piece));
    await ended(raw, 'MESSAGE_INVALID', /larger than/);
  });

  for (const [what, bytes] of [
    ['of one byte', 1],
    ['of nothing', 0],
  ] as const) {
    test(`WebSocket fragments ${what}: 64, and no more`, async () => {
      const raw = await wireSession(network);
      raw.wire.acknowledges = false; // no frame may come between the pieces
      const piece = wsFrame(new Uint8Array(bytes), WS.piece);
      await raw.wire.bytes(Buffer.concat([wsFrame(Buffer.of(1), WS.firstPiece), ...Array(62).fill(piece)]));
      await settle();
      if (raw.session.draining) assert.fail((await raw.session.closed).reason);
      await raw.wire.bytes(Buffer.concat(Array(10).fill(piece)));
      await nextDoor.meanwhile(() => ended(raw, 'PROTOCOL_ERROR'));
    });
  }

  test('a frame that comes byte by byte takes no more than its bytes, and the session waits for the rest', async () => {
    const raw = await wireSession(network);
    const whole = wsFrame(encodeFrame(ping.code, 0, 0, pack({ id: 7 })));
    for (const byte of whole.subarray(0, -1)) await raw.wire.bytes(Buffer.of(byte));
    const before = raw.wire.bytesRead;
    await raw.wire.bytes(whole.subarray(-1));
    await waitFor('the pong', () => raw.wire.bytesRead > before);
    raw.wire.destroy();
  });
});
