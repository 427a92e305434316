/** Networks that cut, freeze and fall silent, and peers that misuse the WebSocket. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import type { WebSocket } from 'ws';
import { FairleadError } from '../../shared/errors.ts';
import { hello } from '../../shared/messages/control.ts';
import { encodeFrame } from '../../shared/mux/frame.ts';
import { greetServer, receiveHello } from '../../shared/mux/handshake.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { memoryPair } from '../support/memory-pair.ts';
import { HELLO, logKind, pipeKind, readyPair, sessionsOver, settle } from '../support/mux.ts';
import { mtlsWsNetwork, plainWsNetwork, type WsNetwork } from '../support/mux-transports.ts';
import { bareSession } from '../support/raw-wire.ts';

const KIB = 1024;
const HELLO_FRAME = encodeFrame(hello.code, 0, 0, encode(HELLO));

test('silence ends the session at both ends, and every stream with it', async () => {
  const clock = new FakeClock();
  const { server, agent, link } = await readyPair({ clock, onAgent: (stream) => stream.sendReply({}) });
  const stream = server.open(pipeKind, {});
  await stream.reply;
  server.startLiveness(45_000);
  agent.startLiveness(45_000);
  link.pause();
  clock.advance(44_999);
  assert.equal(server.draining, false);
  clock.advance(1);
  assert.equal((await server.closed).code, 'TIMEOUT');
  assert.equal((await agent.closed).code, 'TIMEOUT');
  assert.equal((await stream.closed)?.code, 'STREAM_INTERRUPTED');
});

test('any frame counts as life', async () => {
  const clock = new FakeClock();
  const { server, agent } = await readyPair({ clock });
  server.startLiveness(45_000);
  for (let round = 0; round < 10; round += 1) {
    clock.advance(40_000);
    await agent.ping();
  }
  assert.equal(server.draining, false);
  assert.equal(server.lastActivityAt, clock.now());
});

test('a step of the wall clock is no silence', async () => {
  const clock = new FakeClock();
  const { server } = await readyPair({ clock });
  server.startLiveness(45_000);
  clock.setWallClock(clock.now() + 86_400_000);
  clock.advance(1000);
  assert.equal(server.draining, false);
});

test('an agent that never says hello, and a server that never welcomes', async () => {
  const clock = new FakeClock();
  const silent = sessionsOver(memoryPair(), { clock });
  const noHello = assert.rejects(receiveHello(silent.server), { code: 'TIMEOUT' });
  clock.advance(10_000);
  await noHello;
  const mute = sessionsOver(memoryPair(), { clock });
  const noWelcome = assert.rejects(greetServer(mute.agent, HELLO), { code: 'TIMEOUT' });
  await receiveHello(mute.server);
  clock.advance(10_000);
  await noWelcome;
  assert.equal((await mute.server.closed).by, 'remote');
  assert.equal(clock.pendingTimers, 0);
});

test('a ping without a pong', async () => {
  const clock = new FakeClock();
  const { server, link } = await readyPair({ clock });
  link.pause();
  const late = assert.rejects(server.ping({ timeoutMs: 500 }), { code: 'TIMEOUT' });
  clock.advance(500);
  await late;
  link.resume();
  await settle();
  assert.equal(server.draining, false, 'a late pong is no error');
});

test('a peer that is frozen costs its windows and the transport what it buffers, and no more', async () => {
  const { server, link } = await readyPair({ onAgent: (stream) => stream.sendReply({}), highWaterBytes: 64 * KIB });
  const streams = Array.from({ length: 20 }, () => server.open(pipeKind, {}));
  await Promise.all(streams.map((stream) => stream.reply));
  link.pause();
  for (const stream of streams)
    for (let count = 0; stream.bytes.write(Buffer.alloc(64 * KIB)); count += 1) assert.ok(count < 10);
  await settle();
  assert.ok(link.server.peakBytes <= 130 * KIB, `${link.server.peakBytes} bytes in the transport`);
  assert.ok(server.stats.queuedBytes.bulk <= 20 * 320 * KIB);
  for (const stream of streams) assert.ok(stream.flow.sent <= stream.flow.sendLimit);
  link.cut();
  for (const stream of streams) assert.equal((await stream.closed)?.code, 'STREAM_INTERRUPTED');
});

test('a reader that stops gets its window, for ever if need be, and goes on later', async () => {
  const bytes = 4 * KIB * KIB;
  const { server, agent } = await readyPair({
    onAgent(stream) {
      stream.sendReply({});
      stream.bytes.end(Buffer.alloc(bytes, 1));
    },
  });
  const log = server.open(logKind, {});
  await log.reply;
  await settle(100);
  assert.equal(log.flow.received, 256 * KIB);
  assert.ok(agent.stats.queuedBytes.bulk > 0);
  let got = 0;
  for await (const chunk of log.bytes) got += (chunk as Buffer).byteLength;
  assert.equal(got, bytes);
  assert.equal(await log.closed, undefined);
});

test('a reader that is slow never has more than its first window waiting', async () => {
  const { server } = await readyPair({
    onAgent(stream) {
      stream.sendReply({});
      stream.bytes.end(Buffer.alloc(4 * KIB * KIB));
    },
  });
  const log = server.open(logKind, {});
  await log.reply;
  let most = 0;
  for await (const _ of log.bytes) {
    await settle(8);
    most = Math.max(most, log.flow.received - log.flow.taken);
  }
  assert.ok(most <= 256 * KIB, `${most} bytes waited`);
});

for (const [name, makeNetwork] of [
  ['a plain WebSocket', plainWsNetwork],
  ['a WebSocket with mutual TLS', mtlsWsNetwork],
] as const) {
  describe(name, () => {
    let network: WsNetwork;
    before(async () => {
      network = await makeNetwork();
    });
    after(() => network.close());

    /** The server's session, and the agent's end as a bare WebSocket. */
    async function bare() {
      const { session, agent } = await bareSession(network);
      return { session, ws: agent, socket: socketOf(agent) };
    }

    test('a connection that is cut at every byte of a frame', async () => {
      const wire = maskedFrame(HELLO_FRAME.subarray(0, 40), 0x82);
      await Promise.all(
        Array.from({ length: wire.byteLength }, async (_, length) => {
          const { session, socket } = await bare();
          socket.write(wire.subarray(0, length));
          setImmediate(() => socket.destroy());
          const end = await session.closed;
          assert.equal(end.by, 'network', `cut after ${length} bytes: ${end.code} ${end.reason}`);
        }),
      );
    });

    test('a text message is a violation, and the peer is told', async () => {
      const { session, ws } = await bare();
      ws.send('{"type":"hello"}');
      const [code, reason] = (await once(ws, 'close')) as [number, Buffer];
      assert.equal(code, 1002);
      assert.equal(reason.toString(), 'PROTOCOL_ERROR');
      assert.equal((await session.closed).code, 'PROTOCOL_ERROR');
    });

    test('a message beyond the limit before hello is refused by its length alone', async () => {
      const { session, socket } = await bare();
      socket.write(maskedFrame(Buffer.alloc(4097), 0x82).subarray(0, 8));
      assert.equal((await session.closed).code, 'FRAME_TOO_LARGE');
    });

    test('a message in two WebSocket fragments is one frame', async () => {
      const { session, ws } = await bare();
      ws.send(HELLO_FRAME.subarray(0, 20), { fin: false });
      ws.send(HELLO_FRAME.subarray(20), { fin: true });
      assert.equal((await receiveHello(session)).version, 1);
      session.destroy(new FairleadError('SHUTDOWN', ''));
    });

    test('a fragment without a beginning, an unmasked message and a reserved bit are violations', async () => {
      for (const bytes of [
        maskedFrame(HELLO_FRAME, 0x80),
        Buffer.from([0x82, 1, 0]),
        maskedFrame(HELLO_FRAME, 0xc2),
        maskedFrame(HELLO_FRAME, 0x83),
      ]) {
        const { session, socket } = await bare();
        socket.write(bytes);
        assert.equal((await session.closed).code, 'PROTOCOL_ERROR');
      }
    });

    test('a peer that does not answer the close is cut off', async () => {
      const { session, socket } = await bare();
      socket.pause();
      session.destroy(new FairleadError('REPLACED', 'a newer session'));
      const end = await session.closed;
      assert.equal(end.code, 'REPLACED');
    });
  });
}

function socketOf(ws: WebSocket): Duplex {
  return (ws as unknown as { _socket: Duplex })._socket;
}

/** A WebSocket frame as a client sends it, with any first byte. */
function maskedFrame(payload: Uint8Array, first: number): Buffer {
  const mask = Buffer.from([1, 2, 3, 4]);
  const head =
    payload.byteLength < 126
      ? Buffer.from([first, 0x80 | payload.byteLength])
      : Buffer.from([first, 0xfe, payload.byteLength >>> 8, payload.byteLength & 0xff]);
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ (mask[index & 3] ?? 0))]);
}
