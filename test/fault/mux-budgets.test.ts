/** Each budget of PROTOCOL.md from both sides: what is within it changes nothing, one more is the end that the text names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { encode } from '@msgpack/msgpack';
import { FairleadError } from '../../shared/errors.ts';
import {
  MAX_CONTROL_FRAMES_PER_SECOND,
  MAX_CONTROL_MESSAGES_PER_SECOND,
  MAX_INFLATED_BYTES_PER_SECOND,
  MAX_MESSAGE_BYTES,
  MAX_OPENS_PER_SECOND,
  MAX_PENDING_PINGS,
  MAX_QUEUED_CONTROL_FRAMES,
  MAX_RESETS_PER_SECOND,
  MAX_SIGNAL_BYTES,
  MAX_SIGNALS_PER_SECOND,
} from '../../shared/limits.ts';
import { ping } from '../../shared/messages/control.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { callKind, execKind, listKind, logKind, pipeKind, settle } from '../support/mux.ts';
import { type RawSession, type RawSessionOptions, readyRawSession } from '../support/raw-session.ts';
import { within } from '../support/wait.ts';

const { OPEN, MORE, DEFLATED } = FLAGS;
const { reply, item } = MECHANICS;
const WINDOW = MECHANICS['stream.window'];
const SIGNAL = MECHANICS['stream.signal'];
const BURST_SECONDS = 10;
const OPENS = BURST_SECONDS * MAX_OPENS_PER_SECOND;
const text = { text: '' };
const nothing = Buffer.alloc(0);

interface Scene extends RawSession {
  readonly clock: FakeClock;
  /** Does it so often, in turns of the event loop in between. */
  times(count: number, act: (index: number) => void): Promise<void>;
  /** Nothing of what came so far has ended the session. */
  alive(): Promise<void>;
  /** The session has ended with this code. */
  ended(code: string, reason?: RegExp): Promise<void>;
}

async function scene(options: RawSessionOptions = {}): Promise<Scene> {
  const clock = new FakeClock();
  const raw = await readyRawSession({ clock, ...options });
  await settle(); // so that the welcome has left
  return {
    ...raw,
    clock,
    async times(count, act) {
      for (let index = 0; index < count; index += 1) {
        act(index);
        if (index % 200 === 199) await settle(5);
      }
      await settle();
    },
    async alive() {
      await settle();
      if (raw.session.draining) assert.fail(`the session ended: ${(await raw.session.closed).reason}`);
    },
    async ended(code, reason = /./) {
      const end = await within(2000, `the end with ${code}`, raw.session.closed);
      assert.equal(end.code, code, end.reason);
      assert.match(end.reason, reason);
      assert.equal(raw.peer.goawayCode, code, 'the peer was told');
      assert.equal(raw.session.openStreams, 0);
      assert.equal(clock.pendingTimers, 0);
    },
  };
}

const reject = (stream: { reset(error: FairleadError): void }, code: ConstructorParameters<typeof FairleadError>[0]) =>
  stream.reset(new FairleadError(code, 'no'));

test('opens in vain: ten seconds of them at once, then a thousand a second', async () => {
  const it = await scene();
  let id = -1;
  const openAndReset = () => {
    id += 2;
    it.peer.open(callKind, id, text);
    it.peer.reset(id);
  };
  await it.times(OPENS, openAndReset);
  await it.alive();
  it.clock.advance(1000);
  await it.times(MAX_OPENS_PER_SECOND, openAndReset);
  await it.alive();
  it.peer.open(callKind, id + 2, text);
  await it.ended('PROTOCOL_ERROR', /opened in vain/);
  assert.equal(it.streams.length, OPENS + MAX_OPENS_PER_SECOND);
});

for (const code of ['UNSUPPORTED', 'DENIED_BY_HOST', 'OVERLOADED', 'MESSAGE_INVALID'] as const) {
  test(`opens that are refused with ${code} are in vain`, async () => {
    const it = await scene({ onStream: (stream) => reject(stream, code) });
    await it.times(OPENS, (index) => it.peer.open(callKind, 2 * index + 1, text));
    await it.alive();
    it.peer.open(callKind, 2 * OPENS + 1, text);
    await it.ended('PROTOCOL_ERROR', /opened in vain/);
  });
}

test('opens that are answered, with a reply or an error, are not', async () => {
  let count = 0;
  const it = await scene({
    onStream(stream) {
      count += 1;
      if (count % 2 === 0) stream.sendReply(text);
      else reject(stream, 'CONTAINER_NOT_FOUND');
    },
  });
  await it.times(2 * OPENS, (index) => it.peer.open(callKind, 2 * index + 1, text));
  await it.alive();
  assert.equal(count, 2 * OPENS);
});

test('parameters count by their size, whatever comes of the stream', async () => {
  const it = await scene({ onStream: (stream) => stream.sendReply(text) });
  const large = { text: 'x'.repeat(1024 * 1024 - 100) };
  // Each stands for the 255 times 4 KiB that it has beyond the first, even though it is answered.
  const within = Math.floor(OPENS / 255);
  await it.times(within, (index) => it.peer.open(callKind, 2 * index + 1, large));
  await it.alive();
  it.peer.open(callKind, 2 * within + 1, large);
  it.peer.open(callKind, 2 * within + 3, large);
  await it.ended('PROTOCOL_ERROR', /opened in vain/);
});

test('resets of own and of closed streams: ten seconds of them, then a thousand a second', async () => {
  const it = await scene();
  it.peer.open(callKind, 1, text);
  await it.times(BURST_SECONDS * MAX_RESETS_PER_SECOND, () => it.peer.reset(1));
  await it.alive();
  it.peer.reset(1);
  await it.ended('PROTOCOL_ERROR', /resets/);
});

const WITHOUT_CREDIT: [what: string, send: (it: Scene, index: number) => void][] = [
  ['empty chunks', ({ peer }) => peer.data(1, 0)],
  ['the same window again', ({ peer }) => peer.frame(WINDOW, 1, 0, { limit: 256 * 1024 })],
  ['windows that rise by one', ({ peer }, index) => peer.frame(WINDOW, 1, 0, { limit: 256 * 1024 + index })],
  ['the same ack again', ({ peer }) => peer.frame(MECHANICS['session.ack'], 0, 0, { bytes: 0, at: 0 })],
  ['wishes for acks', ({ peer }, index) => peer.frame(MECHANICS['session.ack.frequency'], 0, 0, { bytes: index + 1 })],
  ['replies in pieces of nothing', ({ peer }) => peer.raw(encodeFrame(reply, 2, MORE, nothing))],
  ['windows of a closed stream', ({ peer }) => peer.frame(WINDOW, 3, 0, { limit: 2 ** 40 })],
  ['data of a closed stream', ({ peer }) => peer.data(3, 1)],
];
for (const [what, send] of WITHOUT_CREDIT) {
  test(`frames without credit: ${what}`, async () => {
    const it = await scene({ onStream: (stream) => stream.id === 1 && stream.sendReply({}) });
    it.peer.open(pipeKind, 1, {}, OPEN);
    it.peer.open(pipeKind, 3, {}, OPEN);
    it.peer.reset(3);
    it.session.open(listKind, {});
    await settle();
    await it.times(MAX_CONTROL_FRAMES_PER_SECOND, (index) => send(it, index));
    await it.alive();
    // What this end has sent may have earned a few more.
    await it.times(100, (index) => send(it, MAX_CONTROL_FRAMES_PER_SECOND + index));
    await it.ended('PROTOCOL_ERROR', /control frames/);
    assert.ok(it.session.stats.framesOut < 200, `${it.session.stats.framesOut} frames in answer`);
  });
}

test('frames without credit: so many again after a second, and two for each OPEN that was sent', async () => {
  const it = await scene();
  it.peer.open(pipeKind, 1, {}, OPEN);
  const empty = () => it.peer.data(1, 0);
  for (let opened = 0; opened < 10; opened += 1) it.session.open(listKind, {});
  await settle();
  await it.times(MAX_CONTROL_FRAMES_PER_SECOND, empty);
  for (let opened = 0; opened < 10; opened += 1) it.session.open(listKind, {});
  await settle();
  await it.times(20, empty);
  await it.alive();
  it.clock.advance(1000);
  await it.times(MAX_CONTROL_FRAMES_PER_SECOND, empty);
  await it.alive();
  empty();
  await it.ended('PROTOCOL_ERROR', /control frames/);
});

test('what compressed frames unpack to: two seconds of 128 MiB at once, each frame counting 16 KiB', async () => {
  const it = await scene({ compression: true });
  const log = it.session.open(logKind, {});
  await settle();
  it.peer.frame(reply, log.id, 0, {});
  log.bytes.on('error', () => undefined).resume();
  const packed = deflateRawSync(encode(new Uint8Array(1)));
  const send = () => it.peer.raw(encodeFrame(MECHANICS['stream.data'], log.id, DEFLATED, packed));
  const most = MAX_INFLATED_BYTES_PER_SECOND / (16 * 1024);
  await it.times(2 * most, send);
  await it.alive();
  it.clock.advance(500);
  await it.times(most / 2, send);
  await it.alive();
  send();
  await it.ended('PROTOCOL_ERROR', /compressed/);
});

test('control messages: ten seconds of them at once, then a hundred a second', async () => {
  const it = await scene();
  const send = (index: number) => it.peer.frame(ping.code, 0, 0, { id: index });
  // The hello was one.
  const most = BURST_SECONDS * MAX_CONTROL_MESSAGES_PER_SECOND - 1;
  for (let id = 0; id < most; id += 1) {
    send(id);
    if (id % 32 === 31) await settle(4);
  }
  await it.alive();
  it.clock.advance(1000);
  for (let id = 0; id < MAX_CONTROL_MESSAGES_PER_SECOND; id += 1) {
    send(id);
    if (id % 32 === 31) await settle(4);
  }
  await it.alive();
  send(0);
  await it.ended('PROTOCOL_ERROR', /control messages/);
});

test('pongs that wait to leave: 64', async () => {
  const it = await scene();
  it.link.server.stall();
  // One leaves before the session knows that the network takes no more.
  it.peer.frame(ping.code, 0, 0, { id: 0 });
  await settle();
  await it.times(MAX_PENDING_PINGS, (index) => it.peer.frame(ping.code, 0, 0, { id: index }));
  await it.alive();
  it.peer.frame(ping.code, 0, 0, { id: 0 });
  const end = await it.session.closed;
  assert.equal(end.code, 'PROTOCOL_ERROR');
  assert.match(end.reason, /pongs/);
});

test('control frames for a peer that does not read: 4,096', async () => {
  const it = await scene({ onStream: (stream) => reject(stream, 'UNSUPPORTED') });
  it.link.server.stall();
  it.peer.open(callKind, 1, text);
  await settle();
  const open = (index: number) => it.peer.open(callKind, 2 * index + 3, text);
  // A few places are the acks' of this end.
  await it.times(MAX_QUEUED_CONTROL_FRAMES - 8, open);
  await it.alive();
  for (let more = 0; more < 10; more += 1) open(MAX_QUEUED_CONTROL_FRAMES + more);
  assert.equal((await it.session.closed).code, 'OVERLOADED');
});

test('items that wait to be read: 4,096 a stream', async () => {
  const it = await scene();
  const lists = [it.session.open(listKind, {}), it.session.open(listKind, {})];
  await settle();
  for (const { id } of lists) it.peer.frame(reply, id, 0, {});
  const [full, other] = lists;
  assert.ok(full && other);
  await it.times(4_096, (index) => it.peer.frame(item, full.id, 0, { n: index & 0x7f }));
  assert.equal(full.state === 'closed', false);
  it.peer.frame(item, full.id, 0, { n: 1 });
  assert.equal((await full.closed)?.code, 'OVERLOADED');
  assert.notEqual(other.state, 'closed');
  await it.alive();
});

test('a message in the making: 4 MiB, whatever its pieces', async () => {
  for (const pieceBytes of [1, 64, 64 * 1024]) {
    const limits = pieceBytes === 1 ? { messageBytes: 32 * 1024 } : {};
    const it = await scene({ limits });
    const { id } = it.session.open(callKind, text);
    await settle();
    const piece = encodeFrame(reply, id, MORE, Buffer.alloc(pieceBytes, 0x80));
    await it.times((limits.messageBytes ?? MAX_MESSAGE_BYTES) / pieceBytes, () => it.peer.raw(piece));
    await it.alive();
    it.peer.raw(piece);
    await it.ended('MESSAGE_INVALID');
  }
});

test('signals: 4 KiB each, and 500 at once', async () => {
  const it = await scene({ onStream: (stream) => stream.onSignal(() => undefined) });
  it.peer.open(execKind, 1, {}, OPEN);
  const signal = (index: number) => it.peer.frame(SIGNAL, 1, 0, { resize: index });
  const most = BURST_SECONDS * MAX_SIGNALS_PER_SECOND;
  await it.times(most, signal);
  it.clock.advance(1000);
  await it.times(MAX_SIGNALS_PER_SECOND, signal);
  assert.notEqual(it.streams[0]?.state, 'closed');
  signal(0);
  assert.equal((await it.streams[0]?.closed)?.code, 'RATE_LIMITED');
  it.peer.open(execKind, 3, {}, OPEN);
  const beside = (bytes: number) => ({ resize: 1, fill: 'x'.repeat(bytes) });
  const overhead = 'resize'.length + 'fill'.length + 7;
  it.peer.frame(SIGNAL, 3, 0, beside(MAX_SIGNAL_BYTES - overhead));
  await it.alive();
  it.peer.frame(SIGNAL, 3, 0, beside(MAX_SIGNAL_BYTES));
  it.peer.open(execKind, 5, {}, OPEN);
  it.peer.frame(SIGNAL, 5, 0, beside(MAX_SIGNAL_BYTES));
  await it.ended('FRAME_TOO_LARGE');
});
