/** Ids, acks, wishes and values that lie, or are dear to decode: each ends its own session, if any. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { INITIAL_WINDOW_BYTES, MAX_STREAM_OFFSET } from '../../shared/limits.ts';
import { ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { callKind, listKind, logKind, pipeKind, settle } from '../support/mux.ts';
import { ended, HIGH_WATER_BYTES, pack, scene } from '../support/mux-advisories.ts';

const { OPEN } = FLAGS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];
const SIGNAL = MECHANICS['stream.signal'];
const text = { text: '' };

describe('ids, acks and wishes that lie', () => {
  test('the last id of all may be opened, and nothing after it', async () => {
    const raw = await scene({ onStream: (stream) => stream.sendReply(text) });
    raw.peer.open(callKind, 0xffff_ffff, text);
    await settle();
    assert.equal(raw.streams.length, 1);
    assert.equal(raw.session.draining, false);
    raw.peer.open(callKind, 1, text);
    await ended(raw, 'PROTOCOL_ERROR', /opened again/);
  });

  for (const [what, id] of [
    ['the next of its own', 3],
    ['the last of its own', 0xffff_ffff],
    ['the next of this end', 4],
    ['the last of this end', 0xffff_fffe],
  ] as const) {
    test(`a frame for a stream that was never opened: ${what}`, async () => {
      for (const type of [DATA, WINDOW, MECHANICS['stream.reset'], SIGNAL, MECHANICS['stream.end'], MECHANICS.reply]) {
        const raw = await scene();
        raw.peer.open(pipeKind, 1, {}, OPEN);
        raw.session.open(pipeKind, {});
        await settle();
        raw.peer.raw(encodeFrame(type, id, 0, pack({})));
        await ended(raw, 'PROTOCOL_ERROR', /never opened/);
      }
    });
  }

  test('an ack beyond what was sent, and one that falls', async () => {
    const ack = (bytes: number) => ({ bytes, at: 0 });
    const ahead = await scene();
    ahead.peer.frame(MECHANICS['session.ack'], 0, 0, ack(ahead.session.stats.bytesOut));
    await settle();
    assert.equal(ahead.session.draining, false);
    ahead.peer.frame(MECHANICS['session.ack'], 0, 0, ack(ahead.session.stats.bytesOut + 1));
    await ended(ahead, 'PROTOCOL_ERROR', /more bytes than were sent/);
    const falling = await scene();
    falling.peer.frame(MECHANICS['session.ack'], 0, 0, ack(10));
    falling.peer.frame(MECHANICS['session.ack'], 0, 0, ack(9));
    await ended(falling, 'PROTOCOL_ERROR', /fell/);
    const backwards = await scene();
    backwards.peer.frame(MECHANICS['session.ack'], 0, 0, { bytes: 1, at: 10 });
    backwards.peer.frame(MECHANICS['session.ack'], 0, 0, { bytes: 1, at: 9 });
    await ended(backwards, 'PROTOCOL_ERROR', /from before/);
  });

  test('a peer that pings and never acknowledges does not stop streams for ever', async () => {
    const clock = new FakeClock();
    const raw = await scene({ clock });
    const log = raw.session.open(pipeKind, {});
    const failed = once(log.bytes, 'error');
    raw.peer.frame(MECHANICS.reply, log.id, 0, {});
    log.bytes.write(Buffer.alloc(200 * 1024));
    await settle();
    const { bytesOut } = raw.session.stats;
    assert.ok(bytesOut < 100 * 1024, `${bytesOut} bytes went out unacknowledged`);
    for (let beat = 1; beat <= 3; beat += 1) {
      clock.advance(15_000);
      raw.peer.frame(ping.code, 0, 0, { id: beat });
      await settle();
      assert.equal(raw.session.draining, false, `after ${beat} pings`);
    }
    clock.advance(15_000);
    raw.peer.frame(ping.code, 0, 0, { id: 4 });
    await ended(raw, 'TIMEOUT', /acknowledge/);
    const [error] = await failed;
    assert.equal(error.code, 'STREAM_INTERRUPTED');
  });

  test('acks that come before their bytes have arrived, with a clock that lies, cost their sender alone', async () => {
    const clocks = [0, 0, 1, 1, 1e6, 1e15, MAX_STREAM_OFFSET - 1, MAX_STREAM_OFFSET];
    const raw = await scene();
    const log = raw.session.open(pipeKind, {});
    log.bytes.on('error', () => undefined);
    raw.peer.frame(MECHANICS.reply, log.id, 0, {});
    raw.peer.frame(WINDOW, log.id, 0, { limit: MAX_STREAM_OFFSET });
    raw.link.server.stall();
    for (let round = 0; round < 500; round += 1) {
      if (log.bytes.writableLength < 1024 * 1024) log.bytes.write(Buffer.alloc(64 * 1024));
      const at = clocks[Math.min(clocks.length - 1, Math.floor(round / 50))] ?? 0;
      raw.peer.frame(MECHANICS['session.ack'], 0, 0, { bytes: raw.session.stats.bytesOut, at });
      await settle(2);
    }
    const { link, queuedBytes } = raw.session.stats;
    for (const value of [link.roundTripMs, link.roundTripIdleMs, link.deliveryRate, link.inFlightLimit]) {
      assert.ok(value === undefined || (Number.isFinite(value) && value >= 0), `${value}`);
    }
    assert.ok(link.inFlightLimit <= 32 * 1024 * 1024);
    assert.ok(raw.link.server.bufferedBytes < 2 * HIGH_WATER_BYTES, `${raw.link.server.bufferedBytes}`);
    assert.ok(queuedBytes.bulk < 2 * 1024 * 1024);
    raw.link.cut();
  });

  test('wishes for an ack for each byte, or for none, are kept to 4 KiB and 1 MiB', async () => {
    const acksFor = async (wish: number, bytes: number) => {
      const raw = await scene({
        onStream(stream) {
          stream.sendReply({});
          stream.bytes.resume();
        },
      });
      raw.peer.frame(MECHANICS['session.ack.frequency'], 0, 0, { bytes: wish });
      raw.peer.open(pipeKind, 1, {}, OPEN);
      for (let sent = 0; sent < bytes; sent += 1000) {
        raw.peer.data(1, 1000);
        await settle(3);
      }
      assert.equal(raw.session.draining, false);
      raw.link.cut();
      return raw.peer.frames.filter(({ type }) => type === MECHANICS['session.ack']).length;
    };
    for (const wish of [0, 1]) {
      const acks = await acksFor(wish, 100_000);
      assert.ok(acks > 10 && acks <= 2 * Math.ceil(110_000 / 4096), `${acks} acks`);
    }
    assert.ok((await acksFor(MAX_STREAM_OFFSET, 2_500_000)) >= 2);
    for (const wish of [-1, 0.5, 2 ** 53]) {
      const raw = await scene();
      raw.peer.frame(MECHANICS['session.ack.frequency'], 0, 0, { bytes: wish });
      await ended(raw, 'MESSAGE_INVALID');
    }
    const onStream = await scene();
    onStream.peer.open(pipeKind, 1, {}, OPEN);
    onStream.peer.frame(MECHANICS['session.ack.frequency'], 1, 0, { bytes: 1 });
    await ended(onStream, 'PROTOCOL_ERROR');
  });
});

describe('values that are dear to decode', () => {
  test('parameters with too many of them end the session before they are decoded', async () => {
    const raw = await scene();
    raw.peer.open(callKind, 1, Array(9_900).fill(0));
    await settle();
    assert.equal(raw.peer.resets.get(1), 'MESSAGE_INVALID');
    raw.peer.open(callKind, 3, Array(10_100).fill(0));
    await ended(raw, 'MESSAGE_INVALID', /parameters/);
  });

  test('windows, resets and wishes with too many of them', async () => {
    const many = Array(1_100).fill(0);
    for (const [type, id] of [
      [WINDOW, 1],
      [MECHANICS['stream.reset'], 1],
    ] as const) {
      const raw = await scene();
      raw.peer.open(pipeKind, 1, {}, OPEN);
      raw.peer.frame(type, id, 0, many);
      await ended(raw, 'MESSAGE_INVALID', /is not acceptable/);
    }
  });

  test('lists and logs whose items nobody takes hold their window and no more', async () => {
    const raw = await scene();
    const list = raw.session.open(listKind, {});
    const log = raw.session.open(logKind, {});
    await settle();
    for (const { id } of [list, log]) raw.peer.frame(MECHANICS.reply, id, 0, {});
    const fill = 'x'.repeat(1000);
    let sent = 0;
    while (sent + 1100 < INITIAL_WINDOW_BYTES) {
      raw.peer.frame(MECHANICS.item, list.id, 0, { n: 1, fill });
      sent += 1100;
    }
    raw.peer.data(log.id, INITIAL_WINDOW_BYTES);
    await settle();
    assert.equal(raw.session.draining, false);
    assert.equal(log.flow.receiveLimit, INITIAL_WINDOW_BYTES);
    for (let more = 0; more < 1000; more += 1) raw.peer.frame(MECHANICS.item, list.id, 0, { n: 1, fill });
    await ended(raw, 'FLOW_CONTROL_ERROR');
  });
});
