/** Peers that ask for too much, or never read: nothing grows without limit, and honest use is not held back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../shared/errors.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { callKind, execKind, listKind, pipeKind, readyPair, settle } from '../support/mux.ts';
import { readyRawSession } from '../support/raw-session.ts';

const { OPEN, END, MORE } = FLAGS;
const text = { text: '' };

test('more than 64 unanswered opens are refused one by one', async () => {
  const { session, peer, streams } = await readyRawSession();
  for (let id = 1; id < 2 * 100; id += 2) peer.open(callKind, id, text);
  await settle();
  assert.equal(streams.length, 64);
  assert.equal(peer.resets.size, 36);
  assert.ok([...peer.resets.values()].every((code) => code === 'OVERLOADED'));
  assert.equal(session.draining, false);
});

test('more than 256 open streams are refused one by one, also when both ends open them', async () => {
  const { session, peer, streams } = await readyRawSession({ onStream: (stream) => stream.sendReply({}) });
  for (let index = 0; index < 40; index += 1) session.open(listKind, {});
  for (let id = 1; id < 2 * 300; id += 2) peer.open(pipeKind, id, {}, OPEN);
  await settle();
  assert.equal(session.openStreams, 256);
  assert.equal(streams.length, 216);
  assert.throws(
    () => session.open(callKind, text),
    (error: FairleadError) => error.code === 'OVERLOADED',
  );
});

test('calls that are answered are no flood, whether with a reply or an error', async () => {
  const clock = new FakeClock();
  let answered = 0;
  const { server, agent } = await readyPair({
    clock,
    onAgent(stream) {
      answered += 1;
      if (answered % 2 === 0) stream.sendReply(text);
      else stream.reset(new FairleadError('CONTAINER_NOT_FOUND', 'no such container'));
    },
  });
  for (let round = 0; round < 500; round += 1) {
    const calls = Array.from({ length: 50 }, () => server.open(callKind, text).closed);
    await Promise.all(calls);
  }
  assert.equal(answered, 25_000);
  assert.equal(agent.draining, false);
});

test('an end that opens and resets too fast is stopped before its peer ends the session', async () => {
  const clock = new FakeClock();
  const { server, agent } = await readyPair({ clock, onAgent: () => undefined });
  const openAndLeave = () => server.open(callKind, text).reset(new FairleadError('CANCELLED', ''));
  for (let count = 0; count < 1000; count += 1) {
    openAndLeave();
    if (count % 100 === 0) await settle(2);
  }
  assert.throws(openAndLeave, (error: FairleadError) => error.code === 'OVERLOADED');
  clock.advance(100);
  for (let count = 0; count < 100; count += 1) openAndLeave();
  assert.throws(openAndLeave, (error: FairleadError) => error.code === 'OVERLOADED');
  await settle();
  assert.equal(agent.draining, false);
});

test('signals that nobody listens to are kept up to a number', async () => {
  const { peer, streams } = await readyRawSession();
  peer.open(execKind, 1, {}, OPEN);
  peer.open(execKind, 3, {}, OPEN);
  await settle();
  for (let count = 0; count < 64; count += 1) peer.frame(MECHANICS['stream.signal'], 1, 0, { resize: count });
  for (let count = 0; count < 65; count += 1) peer.frame(MECHANICS['stream.signal'], 3, 0, { resize: count });
  await settle();
  const heard: number[] = [];
  (streams[0] as unknown as MuxStream<typeof execKind>).onSignal(({ resize }) => heard.push(resize));
  assert.equal(heard.length, 64);
  assert.equal((await streams[1]?.closed)?.code, 'OVERLOADED');
});

test('a signal is paced by its sender, and the last one arrives', async () => {
  const clock = new FakeClock();
  const heard: number[] = [];
  const { server } = await readyPair({
    clock,
    onAgent: (stream) => (stream as unknown as MuxStream<typeof execKind>).onSignal(({ resize }) => heard.push(resize)),
  });
  const exec = server.open(execKind, {});
  for (let count = 1; count <= 100; count += 1) exec.signal({ resize: count });
  await settle();
  assert.equal(heard.length, 50);
  clock.advance(1000);
  await settle();
  assert.equal(heard.at(-1), 100);
});

test('bytes in tiny frames take little more memory than themselves', async () => {
  const { session, peer, streams } = await readyRawSession({ onStream: (stream) => stream.sendReply({}) });
  peer.open(pipeKind, 1, {}, OPEN);
  for (let count = 0; count < 10_000; count += 1) peer.data(1, 1);
  await settle();
  const chunks: number[] = [];
  streams[0]?.bytes.on('data', (chunk: Buffer) => chunks.push(chunk.byteLength));
  await settle();
  assert.equal(
    chunks.reduce((sum, bytes) => sum + bytes, 0),
    10_000,
  );
  assert.ok(chunks.length <= 3, `${chunks.length} chunks`);
  assert.equal(session.draining, false);
});

test('messages in pieces of all streams together stay within the budget', async () => {
  const { session, peer } = await readyRawSession({ limits: { budgetBytes: 1024 * 1024 } });
  const lists = [1, 2, 3].map(() => session.open(listKind, {}));
  await settle();
  for (let piece = 0; piece < 8; piece += 1) {
    for (const list of lists) peer.raw(encodeFrame(MECHANICS.reply, list.id, MORE, Buffer.alloc(50 * 1024)));
  }
  await settle();
  assert.equal((await lists.find((list) => list.state === 'closed')?.closed)?.code, 'OVERLOADED');
  assert.ok(lists.some((list) => list.state !== 'closed'));
  assert.equal(session.draining, false);
});

test('frames for a closed stream are dropped for a grace, then an error', async () => {
  const clock = new FakeClock();
  const { session, peer } = await readyRawSession({
    clock,
    onStream: (stream) => stream.reset(new FairleadError('CONFLICT', '')),
  });
  peer.open(pipeKind, 1, {}, OPEN);
  peer.data(1, 1000);
  await settle();
  clock.advance(29_000);
  peer.data(1, 1000, END);
  peer.reset(1);
  await settle();
  assert.equal(session.stats.framesDropped, 3);
  assert.equal(session.draining, false);
  clock.advance(32_000);
  peer.data(1, 1);
  const end = await session.closed;
  assert.equal(end.code, 'PROTOCOL_ERROR');
});
