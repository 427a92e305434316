/** What has brought down other multiplexers, by the names of their advisories: here it ends one session, if any. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { pino } from 'pino';
import type { HandlerContext } from '../../agent/handlers/index.ts';
import { Dispatcher } from '../../agent/link/dispatch.ts';
import {
  INITIAL_WINDOW_BYTES,
  MAX_OPEN_STREAMS,
  MAX_OPENS_PER_SECOND,
  MAX_STREAM_OFFSET,
} from '../../shared/limits.ts';
import { ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { callKind, execKind, listKind, logKind, pipeKind, settle } from '../support/mux.ts';
import { mtlsWsNetwork, type WsNetwork } from '../support/mux-transports.ts';
import { type Neighbour, neighbour } from '../support/raw-neighbour.ts';
import { type RawSession, type RawSessionOptions, readyRawSession } from '../support/raw-session.ts';
import { type WireSession, WS, wireSession, wsFrame } from '../support/raw-wire.ts';
import { waitFor, within } from '../support/wait.ts';

const { OPEN, END, MORE } = FLAGS;
const DATA = MECHANICS['stream.data'];
const WINDOW = MECHANICS['stream.window'];
const SIGNAL = MECHANICS['stream.signal'];
const text = { text: '' };
const pack = (value: unknown) => encode(value);
const chunk = (bytes: number) => pack(new Uint8Array(bytes));
const openFrame = (kind: { readonly code: number }, id: number, params: unknown, flags: number = OPEN | END) =>
  encodeFrame(kind.code, id, flags, pack(params));
/** Where a session says no more to its transport: what it may hold there. */
const HIGH_WATER_BYTES = 256 * 1024;
const OPENS_AT_ONCE = 10 * MAX_OPENS_PER_SECOND;

let network: WsNetwork;
let nextDoor: Neighbour;
before(async () => {
  network = await mtlsWsNetwork();
  nextDoor = await neighbour(network);
});
after(async () => {
  nextDoor.close();
  await network.close();
});

/** A raw peer in memory, on a clock that stands still. */
async function scene(options: RawSessionOptions = {}): Promise<RawSession> {
  const raw = await readyRawSession({ clock: new FakeClock(), ...options });
  await settle();
  return raw;
}

async function ended({ session }: { session: RawSession['session'] }, code: string, reason = /./): Promise<void> {
  const end = await within(5000, `an end with ${code}`, session.closed);
  assert.equal(end.code, code, end.reason);
  assert.match(end.reason, reason);
  assert.equal(end.by, 'local');
  assert.equal(session.openStreams, 0);
}

/** Acts so often, or until the session ends, with turns of the event loop in between. */
async function repeat(raw: RawSession, most: number, act: (index: number) => void): Promise<void> {
  for (let index = 0; index < most && !raw.session.draining; index += 1) {
    act(index);
    if (index % 100 === 99) await settle(3);
  }
  await settle();
}

/** The same on a real connection: frames of `act` leave in batches. */
async function flood({ wire, session }: WireSession, most: number, act: (index: number) => Uint8Array): Promise<void> {
  for (let index = 0; index < most && !wire.gone && !session.draining; ) {
    const batch: Uint8Array[] = [];
    for (; batch.length < 200 && index < most; index += 1) batch.push(act(index));
    await wire.frames(...batch);
  }
}

function held({ session, transport }: WireSession): number {
  const { control, interactive, bulk } = session.stats.queuedBytes;
  return control + interactive + bulk + transport.bufferedBytes;
}

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

describe('CVE-2023-44487, HTTP/2 rapid reset, and CVE-2025-8671, MadeYouReset: work that outlives its stream', () => {
  /** A handler that takes no notice of resets, behind what agents accept streams with. */
  function slowService() {
    const release = Promise.withResolvers<void>();
    let most = 0;
    let begun = 0;
    const dispatcher: Dispatcher = new Dispatcher({
      policy: { allow: [], deny: [] },
      handlers: new Map(
        [callKind, execKind].map((kind) => [
          kind.code,
          async () => {
            begun += 1;
            most = Math.max(most, dispatcher.running);
            await release.promise;
          },
        ]),
      ),
      context: {} as unknown as HandlerContext,
      log: pino({ level: 'silent' }),
    });
    return {
      accept: (stream: MuxStream) => dispatcher.accept(stream),
      figures: () => ({ begun, most, running: dispatcher.running }),
      release: release.resolve,
    };
  }

  const ways: [name: string, attack: (raw: RawSession, id: number) => void][] = [
    [
      'the peer resets at once',
      ({ peer }, id) => {
        peer.open(callKind, id, text);
        peer.reset(id);
      },
    ],
    [
      'a signal that does not fit makes this end reset',
      ({ peer }, id) => {
        peer.open(execKind, id, {}, OPEN);
        peer.frame(SIGNAL, id, 0, { resize: 'large' });
      },
    ],
    ['parameters that do not fit make this end reset', ({ peer }, id) => peer.open(callKind, id, { text: 7 })],
  ];
  for (const [name, act] of ways) {
    test(name, async () => {
      const service = slowService();
      const raw = await scene({ onStream: service.accept });
      await nextDoor.meanwhile(() => repeat(raw, 2 * OPENS_AT_ONCE, (index) => act(raw, 2 * index + 1)));
      await ended(raw, 'PROTOCOL_ERROR', /opened in vain/);
      const { begun, most } = service.figures();
      assert.ok(most <= MAX_OPEN_STREAMS, `${most} handlers at work`);
      assert.ok(begun <= MAX_OPEN_STREAMS, `${begun} begun`);
      service.release();
      await settle();
      assert.equal(service.figures().running, 0);
    });
  }

  for (const [what, perStream, code] of [
    ['signals that nobody listens to make this end reset', 65, 'OVERLOADED'],
    ['too many signals make this end reset', 501, 'RATE_LIMITED'],
  ] as const) {
    test(what, async () => {
      const service = slowService();
      const raw = await scene({
        onStream(stream) {
          if (code === 'RATE_LIMITED') stream.onSignal(() => undefined);
          service.accept(stream);
        },
      });
      const { peer } = raw;
      await nextDoor.meanwhile(async () => {
        for (let id = 1; id < 1000 && !raw.session.draining; id += 2) {
          peer.open(execKind, id, {}, OPEN);
          for (let signal = 0; signal < perStream; signal += 1) peer.frame(SIGNAL, id, 0, { resize: signal });
          await settle(3);
        }
      });
      // Each such reset costs the peer so many frames without credit that these end it first.
      await ended(raw, 'PROTOCOL_ERROR', /control frames/);
      const resets = raw.session.stats.resetsByCode.get(code) ?? 0;
      assert.ok(resets > 30 && resets <= 20_000 / perStream + 1, `${resets} resets`);
      assert.ok(service.figures().most <= MAX_OPEN_STREAMS);
      service.release();
    });
  }

  test('what made HTTP/2 reset a stream ends the session here, at the first time', async () => {
    const session: [code: string, attack: (raw: RawSession) => void][] = [
      ['FLOW_CONTROL_ERROR', ({ peer }) => peer.frame(WINDOW, 1, 0, { limit: 0 })],
      ['MESSAGE_INVALID', ({ peer }) => peer.frame(WINDOW, 1, 0, { limit: -1 })],
      ['MESSAGE_INVALID', ({ peer }) => peer.raw(encodeFrame(WINDOW, 1, 0, Buffer.alloc(3)))],
      ['PROTOCOL_ERROR', ({ peer }) => peer.frame(MECHANICS.reply, 1, 0, {})],
      ['PROTOCOL_ERROR', ({ peer }) => peer.open(callKind, 1, text)],
      [
        'PROTOCOL_ERROR',
        ({ peer }) => {
          peer.data(1, 1, END);
          peer.data(1, 1, END);
        },
      ],
      ['FLOW_CONTROL_ERROR', ({ peer }) => peer.data(1, INITIAL_WINDOW_BYTES + 1)],
    ];
    for (const [code, act] of session) {
      const raw = await scene();
      raw.peer.open(pipeKind, 1, {}, OPEN);
      act(raw);
      await ended(raw, code);
      assert.equal(raw.peer.resets.size, 0);
    }
  });

  test('honest work above the streams that may be open is none of this: answers make room', async () => {
    const service = slowService();
    const raw = await scene({ onStream: service.accept });
    await repeat(raw, 1000, (index) => {
      raw.peer.open(callKind, 2 * index + 1, text);
      raw.peer.reset(2 * index + 1);
    });
    assert.equal(service.figures().running, MAX_OPEN_STREAMS);
    service.release();
    await settle();
    raw.peer.open(callKind, 4001, text);
    await settle();
    assert.equal(service.figures().begun, MAX_OPEN_STREAMS + 1);
    assert.equal(raw.session.draining, false);
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
