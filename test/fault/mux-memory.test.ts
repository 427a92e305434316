/** Many sessions whose readers stand still fill the memory of their process: what runs goes on, and nothing dies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFairleadError } from '../../shared/errors.ts';
import { INITIAL_WINDOW_BYTES, WINDOW_SHARE_BYTES } from '../../shared/limits.ts';
import { MemoryPool } from '../../shared/mux/memory-pool.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { callKind, listKind, logKind, pipeKind, type ReadyMemoryPair, readyPair, settle } from '../support/mux.ts';
import { waitFor } from '../support/wait.ts';

const MIB = 1024 * 1024;
const SESSIONS = 24;
const POOL_BYTES = 8 * MIB;
const STREAMS = POOL_BYTES / INITIAL_WINDOW_BYTES;
/** Sent again and again, so that the senders hold none of their own. */
const CHUNK = Buffer.alloc(32 * 1024, 'x');

/** The agent's end: bytes without end, as fast as they leave, and answers to calls. */
function serve(stream: MuxStream): void {
  if (stream.kind.code === callKind.code) {
    stream.sendReply({ text: 'answer' } as never);
    return;
  }
  stream.sendReply({} as never);
  const { bytes } = stream;
  const pump = () => {
    while (!bytes.destroyed && bytes.writable && bytes.write(CHUNK));
  };
  bytes.on('drain', pump);
  pump();
}

interface Fleet extends AsyncDisposable {
  readonly pool: MemoryPool;
  readonly pairs: readonly ReadyMemoryPair[];
}

async function fleet(): Promise<Fleet> {
  const pool = new MemoryPool(POOL_BYTES);
  const memory = { server: pool };
  const onServer = (stream: MuxStream) => stream.sendReply({} as never);
  const pairs = await Promise.all(
    Array.from({ length: SESSIONS }, () =>
      readyPair({ memory, onServer, onAgent: serve, highWaterBytes: CHUNK.byteLength }),
    ),
  );
  return {
    pool,
    pairs,
    async [Symbol.asyncDispose]() {
      for (const { link } of pairs) link.cut();
      await settle(2);
    },
  };
}

/** Logs over all sessions in turn, which nobody reads, until one is refused. */
async function fill({ pairs }: Fleet): Promise<MuxStream[]> {
  const opened: MuxStream[] = [];
  for (let count = 0; ; count += 1) {
    assert.ok(count <= STREAMS, 'more streams than there is memory for');
    const session = pairs[count % SESSIONS]?.server as Session;
    const log = tryOpen(session);
    if (log === undefined) return opened;
    await log.reply;
    opened.push(log);
  }
}

/** @returns undefined if it is refused for want of memory */
function tryOpen(session: Session): MuxStream | undefined {
  try {
    return session.open(logKind, {}) as unknown as MuxStream;
  } catch (error) {
    assert.ok(isFairleadError(error, 'OVERLOADED'), String(error));
    return undefined;
  }
}

const unread = ({ flow }: MuxStream) => flow.received - flow.taken;

test('readers that stand still in many sessions cost the pool and no more, and new streams are refused', async () => {
  await using all = await fleet();
  const before = process.memoryUsage().arrayBuffers;
  const stalled = await fill(all);
  assert.equal(stalled.length, STREAMS);
  await waitFor('full windows', () => stalled.every((log) => unread(log) === INITIAL_WINDOW_BYTES));
  assert.equal(all.pool.usedBytes, POOL_BYTES);
  // Both ends run in this process: senders and links hold what they may on top.
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 4 * POOL_BYTES, `${Math.round(grown / MIB)} MiB`);
  for (const { server, agent } of all.pairs) {
    assert.equal(tryOpen(server), undefined);
    assert.throws(() => server.open(listKind, {}), { code: 'OVERLOADED' });
    // What brings no bytes still works, in every session.
    assert.deepEqual(await server.open(callKind, { text: 'question' }).reply, { text: 'answer' });
    const refused = agent.open(pipeKind, {});
    await assert.rejects(refused.reply, { code: 'OVERLOADED' });
    assert.equal(server.draining, false);
  }
  assert.equal(all.pool.usedBytes, POOL_BYTES);
});

test('streams that are open go on with their share while memory is short', async () => {
  await using all = await fleet();
  const [running, ...stalled] = await fill(all);
  assert.ok(running !== undefined);
  let got = 0;
  running.bytes.on('data', (chunk: Buffer) => {
    got += chunk.byteLength;
    assert.ok(all.pool.usedBytes <= POOL_BYTES, 'beyond the pool');
  });
  await waitFor('four MiB', () => got >= 4 * MIB);
  running.bytes.pause();
  await settle(50);
  assert.ok(running.flow.receiveLimit - running.flow.taken <= WINDOW_SHARE_BYTES);
  for (const log of stalled) assert.notEqual(log.state, 'closed');
  assert.ok(all.pool.usedBytes <= POOL_BYTES - INITIAL_WINDOW_BYTES + WINDOW_SHARE_BYTES);
});

test('what is given up is there for others: by reset, by reading on, and by the end of a session', async () => {
  await using all = await fleet();
  const stalled = await fill(all);
  const [first, second, third] = stalled;
  assert.ok(first && second && third);
  const { server } = all.pairs[10] as ReadyMemoryPair;
  first.bytes.destroy();
  assert.ok(tryOpen(server), 'after a reset');
  assert.equal(tryOpen(server), undefined);
  // The second session had two streams.
  all.pairs[1]?.link.cut();
  await second.closed;
  assert.ok(tryOpen(server) && tryOpen(server), 'after the end of a session');
  assert.equal(tryOpen(server), undefined);
  // What four readers leave of their first window is room for three new ones.
  for (const log of stalled.slice(2, 6)) log.bytes.resume();
  await waitFor('room', () => all.pool.hasRoom(3 * INITIAL_WINDOW_BYTES));
  for (let count = 0; count < 3; count += 1) assert.ok(tryOpen(server), 'after others read on');
});

test('nothing is counted any more once all sessions have ended', async () => {
  const all = await fleet();
  await fill(all);
  await settle(50);
  assert.ok(all.pool.usedBytes > 0);
  await all[Symbol.asyncDispose]();
  assert.equal(all.pool.usedBytes, 0);
});
