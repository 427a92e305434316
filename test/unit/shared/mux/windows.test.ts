/** How a session comes to know the round trip by which its windows grow, and what they do with it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES } from '../../../../shared/limits.ts';
import { ping } from '../../../../shared/messages/control.ts';
import { MemoryPool } from '../../../../shared/mux/memory-pool.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import {
  callKind,
  listKind,
  logKind,
  type MuxPairOptions,
  pipeKind,
  putKind,
  readyPair,
  settle,
} from '../../../support/mux.ts';

const CHUNK = Buffer.alloc(64 * 1024);

/** A log whose sender writes whenever it may, and whose reader takes all or nothing. */
async function logging(options: MuxPairOptions = {}) {
  const clock = new FakeClock();
  let source: MuxStream | undefined;
  const onAgent = (stream: MuxStream) => {
    stream.sendReply({ text: '' } as never);
    if (stream.kind.code === logKind.code) source = stream;
  };
  const pair = await readyPair({ clock, onAgent, ...options });
  pair.link.server.recorded = [];
  const log = pair.server.open(logKind, {});
  await log.reply;
  const bytes = source?.bytes;
  assert.ok(bytes);
  const pings = () =>
    (pair.link.server.recorded ?? []).filter((frame) => Buffer.from(frame).readUInt16BE(0) === ping.code);
  /** Sends so much, with so many ms between the chunks. */
  const send = async (total: number, everyMs: number) => {
    for (let sent = 0; sent < total; sent += CHUNK.byteLength) {
      if (!bytes.writableNeedDrain) bytes.write(CHUNK);
      await settle(3);
      clock.advance(everyMs);
    }
    await settle(10);
  };
  return { ...pair, clock, log, send, pings, [Symbol.dispose]: () => pair.link.cut() };
}

test('the round trip is measured before and while bytes come, once a second at most', async () => {
  using pair = await logging();
  pair.log.bytes.resume();
  assert.equal(pair.pings().length, 1);
  await pair.send(32 * CHUNK.byteLength, 1);
  assert.equal(pair.pings().length, 1);
  pair.clock.advance(1000);
  assert.equal(pair.pings().length, 1, 'an idle session asks for nothing');
  await pair.send(32 * CHUNK.byteLength, 1);
  assert.equal(pair.pings().length, 2);
  pair.clock.advance(1000);
  await pair.server.open(callKind, { text: '' }).reply;
  assert.equal(pair.pings().length, 2, 'a call brings no bytes');
});

test('a window is what its stream needs, and its memory is the pool’s until the stream ends', async () => {
  const pool = new MemoryPool(100 * MAX_WINDOW_BYTES);
  using pair = await logging({ memory: { server: pool } });
  pair.log.bytes.resume();
  await pair.send(64 * CHUNK.byteLength, 10);
  const { receiveLimit, taken } = pair.log.flow;
  assert.ok(receiveLimit - taken <= 2 * INITIAL_WINDOW_BYTES, 'slowly used, on a link without delay');
  assert.equal(pool.usedBytes, pair.server.stats.memoryBytes);
  assert.equal(pool.usedBytes, receiveLimit - taken);
  pair.log.bytes.destroy();
  assert.equal(pool.usedBytes, 0);
});

test('only streams that bring something count', async () => {
  const pool = new MemoryPool(100 * MAX_WINDOW_BYTES);
  using pair = await logging({ memory: { server: pool } });
  assert.equal(pool.usedBytes, INITIAL_WINDOW_BYTES);
  await pair.server.open(callKind, { text: '' }).reply;
  const put = pair.server.open(putKind, {});
  assert.equal(pool.usedBytes, INITIAL_WINDOW_BYTES);
  const list = pair.server.open(listKind, {});
  const pipe = pair.server.open(pipeKind, {});
  assert.equal(pool.usedBytes, 3 * INITIAL_WINDOW_BYTES);
  put.bytes.write('what waits to be sent counts, too');
  assert.equal(pool.usedBytes, 3 * INITIAL_WINDOW_BYTES + 33);
  for (const stream of [put, list, pipe, pair.log]) stream.reset(new FairleadError('CANCELLED', 'enough'));
  assert.equal(pool.usedBytes, 0);
});

test('what came before a clean end counts until it is read or given up', async () => {
  for (const giveUp of [
    (log: MuxStream) => log.bytes.destroy(),
    (log: MuxStream) => log.reset(new FairleadError('CANCELLED', 'the client has left')),
    (log: MuxStream) => void log.bytes.resume(),
  ]) {
    const pool = new MemoryPool(100 * MAX_WINDOW_BYTES);
    const onAgent = (stream: MuxStream) => {
      stream.sendReply({} as never);
      stream.bytes.end(CHUNK);
    };
    const pair = await readyPair({ clock: new FakeClock(), onAgent, memory: { server: pool } });
    const log = pair.server.open(logKind, {}) as unknown as MuxStream;
    assert.equal(await log.closed, undefined);
    assert.equal(pool.usedBytes, CHUNK.byteLength);
    giveUp(log);
    await settle(3);
    assert.equal(pool.usedBytes, 0);
    pair.link.cut();
  }
});

test('items that were given up after a clean end do not look like all of them', async () => {
  const pool = new MemoryPool(100 * MAX_WINDOW_BYTES);
  const onAgent = (stream: MuxStream) => {
    stream.sendReply({} as never);
    for (const n of [1, 2, 3]) void stream.sendItem({ n } as never);
    stream.finish();
  };
  const pair = await readyPair({ clock: new FakeClock(), onAgent, memory: { server: pool } });
  const list = pair.server.open(listKind, {});
  const items = list.items()[Symbol.asyncIterator]();
  assert.deepEqual((await items.next()).value, { n: 1 });
  assert.equal(await list.closed, undefined);
  assert.ok(pool.usedBytes > 0);
  list.reset(new FairleadError('CANCELLED', 'enough'));
  assert.equal(pool.usedBytes, 0);
  await assert.rejects(items.next(), { code: 'CANCELLED' });
  pair.link.cut();
});
