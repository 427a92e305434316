/** The floods that brought down servers of HTTP/2 in 2019: here each ends one session, if any. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { INITIAL_WINDOW_BYTES, MAX_STREAM_OFFSET } from '../../shared/limits.ts';
import { ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import { callKind, execKind, pipeKind, settle } from '../support/mux.ts';
import {
  chunk,
  ended,
  flood,
  held,
  networkWithNeighbour,
  OPENS_AT_ONCE,
  openFrame,
  pack,
  repeat,
  scene,
} from '../support/mux-advisories.ts';
import { WS, wireSession, wsFrame } from '../support/raw-wire.ts';
import { waitFor, within } from '../support/wait.ts';

const { OPEN, END } = FLAGS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];

const { network, nextDoor } = await networkWithNeighbour();

describe('HTTP/2 floods of 2019', () => {
  test('CVE-2019-9511, data dribble: credit of one byte at a time earns nothing', async () => {
    const raw = await scene({ limits: { controlFramesPerSecond: 4000 } });
    const exec = raw.session.open(execKind, {});
    raw.peer.frame(MECHANICS.reply, exec.id, 0, {});
    exec.bytes.on('error', () => undefined);
    exec.bytes.write(Buffer.alloc(INITIAL_WINDOW_BYTES + 100_000));
    const acknowledge = (at: number) =>
      raw.peer.frame(MECHANICS['session.ack'], 0, 0, { bytes: raw.session.stats.bytesOut, at });
    for (let round = 0; exec.flow.sent < INITIAL_WINDOW_BYTES && round < 1000; round += 1) {
      acknowledge(round);
      await settle(4);
    }
    const before = raw.session.stats.framesOut;
    await nextDoor.meanwhile(async () => {
      for (let byte = 1; byte <= 60_000 && !raw.session.draining; byte += 1) {
        raw.peer.frame(WINDOW, exec.id, 0, { limit: INITIAL_WINDOW_BYTES + byte });
        // One by one, or the bytes would leave together.
        await settle(2);
        if (byte % 100 === 0) acknowledge(1000 + byte);
      }
    });
    await ended(raw, 'PROTOCOL_ERROR', /control frames/);
    const dribbled = raw.session.stats.framesOut - before;
    assert.ok(dribbled > 2_000 && dribbled < 4_100, `${dribbled} frames for single bytes`);
  });

  test('CVE-2019-9512, pings: a thousand at once, though each pong is read', async () => {
    const raw = await wireSession(network);
    await nextDoor.meanwhile(() => flood(raw, 5000, (id) => encodeFrame(ping.code, 0, 0, pack({ id }))));
    await ended(raw, 'PROTOCOL_ERROR', /control messages|pongs/);
  });

  test('pings of the WebSocket, which pass below all that counts, end the session at once', async () => {
    const raw = await wireSession(network);
    await raw.wire.bytes(wsFrame(Buffer.alloc(0), WS.ping));
    await ended(raw, 'PROTOCOL_ERROR', /WebSocket ping/);
  });

  test('CVE-2019-9513, resource loop: streams that are woken and woken again', async () => {
    const raw = await scene();
    const pipes = Array.from({ length: 60 }, () => raw.session.open(pipeKind, {}));
    await settle();
    await nextDoor.meanwhile(() =>
      repeat(raw, 30_000, (index) => {
        const id = pipes[index % pipes.length]?.id ?? 0;
        raw.peer.frame(WINDOW, id, 0, { limit: INITIAL_WINDOW_BYTES + index });
      }),
    );
    await ended(raw, 'PROTOCOL_ERROR', /control frames/);
  });

  test('CVE-2019-9514, reset flood: refusals that the peer does not read', async () => {
    const raw = await wireSession(network);
    raw.wire.pause();
    const pipe = raw.session.open(pipeKind, {});
    pipe.bytes.on('error', () => undefined);
    let most = 0;
    await nextDoor.meanwhile(() =>
      flood(raw, 2 * OPENS_AT_ONCE, (index) => {
        most = Math.max(most, held(raw));
        return openFrame(callKind, 2 * index + 1, { text: 7 });
      }),
    );
    const { code } = await within(5000, 'the end', raw.session.closed);
    assert.ok(['OVERLOADED', 'PROTOCOL_ERROR'].includes(code), code);
    assert.ok(most < 4 * 1024 * 1024, `${most} bytes waited`);
  });

  test('CVE-2019-9515, settings flood: wishes for acks, each another', async () => {
    const raw = await scene();
    await nextDoor.meanwhile(() =>
      repeat(raw, 30_000, (index) => raw.peer.frame(MECHANICS['session.ack.frequency'], 0, 0, { bytes: 1 + index })),
    );
    await ended(raw, 'PROTOCOL_ERROR', /control frames/);
    assert.ok(raw.session.stats.framesOut < 1000);
  });

  test('CVE-2019-9516, nothing where parameters belong', async () => {
    const raw = await scene();
    raw.peer.raw(encodeFrame(callKind.code, 1, OPEN | END, Buffer.alloc(0)));
    await ended(raw, 'MESSAGE_INVALID');
  });

  test('CVE-2019-9517, internal buffering: a window without end, and a connection that nobody reads', async () => {
    const raw = await wireSession(network);
    const log = raw.session.open(pipeKind, {});
    log.bytes.on('error', () => undefined);
    await raw.wire.frames(
      encodeFrame(MECHANICS.reply, log.id, 0, pack({})),
      encodeFrame(WINDOW, log.id, 0, pack({ limit: MAX_STREAM_OFFSET })),
    );
    await log.reply;
    raw.wire.pause();
    const block = Buffer.alloc(64 * 1024);
    let most = 0;
    let written = 0;
    // As any application does that minds backpressure.
    await nextDoor.meanwhile(async () => {
      const until = performance.now() + 300;
      while (performance.now() < until) {
        while (log.bytes.writableLength < log.bytes.writableHighWaterMark) {
          log.bytes.write(block);
          written += block.byteLength;
        }
        most = Math.max(most, held(raw) + log.bytes.writableLength);
        await settle(2);
      }
    });
    assert.ok(most < 2 * 1024 * 1024, `${most} bytes waited`);
    assert.equal(raw.session.draining, false, 'a slow peer is no breach');
    raw.wire.resume();
    await waitFor('what was written', () => raw.wire.bytesRead >= written);
    raw.wire.destroy();
  });

  test('CVE-2019-9518, empty frames', async () => {
    const raw = await wireSession(network, (stream) => stream.sendReply({}));
    await raw.wire.frames(openFrame(pipeKind, 1, {}, OPEN));
    const empty = encodeFrame(DATA, 1, 0, chunk(0));
    await nextDoor.meanwhile(() => flood(raw, 200_000, () => empty));
    await ended(raw, 'PROTOCOL_ERROR', /control frames/);
  });

  test('frames of one byte, as fast as the network takes them: the neighbours have their turns', async () => {
    let bytes = 0;
    const raw = await wireSession(network, (stream) => {
      stream.sendReply({});
      stream.bytes
        .on('error', () => undefined)
        .on('data', (part: Buffer) => {
          bytes += part.byteLength;
        });
    });
    await raw.wire.frames(openFrame(pipeKind, 1, {}, OPEN));
    const one = wsFrame(encodeFrame(DATA, 1, 0, chunk(1)));
    const batch = Buffer.concat(Array(4000).fill(one));
    let over = false;
    let mostInTurn = 0;
    const watch = (before: number) => {
      mostInTurn = Math.max(mostInTurn, raw.session.stats.framesIn - before);
      if (!over) setImmediate(watch, raw.session.stats.framesIn);
    };
    watch(raw.session.stats.framesIn);
    await nextDoor.meanwhile(async () => {
      const until = performance.now() + 500;
      while (performance.now() < until) await raw.wire.bytes(batch);
    });
    over = true;
    // What a turn begins with is read to the end of its TLS record.
    assert.ok(mostInTurn <= 2500, `${mostInTurn} frames in one turn`);
    assert.equal(raw.session.draining, false, 'bytes with credit are no breach');
    assert.ok(bytes > 0);
    raw.wire.destroy();
  });
});
