/** Any sequence of operations over two sessions: credit is kept to, nothing stalls, and no stream ends cleanly that lost bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FairleadError } from '../../shared/errors.ts';
import { MemoryPool } from '../../shared/mux/memory-pool.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { logKind, pipeKind, readyPair, settle } from '../support/mux.ts';
import { End, Model, type Op, type Side, WINDOW } from '../support/mux-model.ts';

const SHARE = 128;
const MAX_WINDOW = 4 * WINDOW;
/** A session's budget that is used up by two streams, one that never is, and a pool that both sessions soon fill. */
const MEMORIES = [
  { budget: WINDOW + WINDOW / 2, pool: 1_000_000 },
  { budget: 100_000, pool: 1_000_000 },
  { budget: 100_000, pool: 6 * WINDOW },
];
type Memory = (typeof MEMORIES)[number];

const side = fc.constantFrom<Side>('server', 'agent');
const stream = fc.nat({ max: 5 });
const end = fc.nat({ max: 1 });
const operation: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant('open'), side, exec: fc.boolean() }) },
  { weight: 12, arbitrary: fc.record({ op: fc.constant('write'), stream, end, bytes: fc.nat({ max: 3000 }) }) },
  { weight: 8, arbitrary: fc.record({ op: fc.constant('read'), stream, end, times: fc.nat({ max: 4 }) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('end'), stream, end }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('reset', 'destroy'), stream, end }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('leave'), stream, end }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('signal'), stream, end }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom('pause', 'resume') }) },
  { weight: 8, arbitrary: fc.record({ op: fc.constant('wait'), turns: fc.nat({ max: 6 }) }) },
) as fc.Arbitrary<Op>;
/** At most once per run, at any place. */
const disaster = fc.option(
  fc.tuple(fc.nat(), fc.oneof(fc.record({ op: fc.constant('goaway'), side }), fc.constant({ op: 'cut' }))),
) as fc.Arbitrary<[number, Op] | null>;

/** A fresh stream of bytes gets exactly the window that the budget has left, with one idle stream beside it. */
async function probe(session: Session, { budget, pool }: Memory): Promise<void> {
  await session.ping();
  const idle = session.open(pipeKind, {});
  const log = session.open(logKind, {});
  await log.reply;
  await settle(3);
  assert.equal((log.bytes.read() as Buffer | null)?.byteLength, WINDOW);
  assert.equal(log.bytes.read(), null, 'asking for more tells that the first chunk was taken');
  // A pool that is nearly full lets no window grow.
  const most = Math.min(pool > budget ? 2 * WINDOW : WINDOW, MAX_WINDOW, Math.floor(budget / 2));
  assert.equal(
    log.flow.receiveLimit - log.flow.taken,
    Math.max(SHARE, Math.min(most, budget - WINDOW)),
    'credit leaked',
  );
  for (const opened of [idle, log]) opened.reset(new FairleadError('CANCELLED', 'enough'));
  await settle(3);
}

async function play(memory: Memory, ops: Op[], at: [number, Op] | null): Promise<void> {
  const clock = new FakeClock();
  const arrivals = new Map<number, End>();
  const accept = (arrived: MuxStream) => {
    if (arrived.kind.code === logKind.code) {
      arrived.sendReply({});
      arrived.bytes.write(Buffer.alloc(WINDOW));
      return;
    }
    arrivals.set(arrived.id, new End(arrived, arrived.id * 2 + 1));
    arrived.sendReply({});
  };
  const pool = new MemoryPool(memory.pool);
  const pair = await readyPair({
    clock,
    memory: { server: pool, agent: pool },
    onServer: accept,
    onAgent: accept,
    highWaterBytes: 2000,
    limits: {
      initialWindowBytes: WINDOW,
      maxWindowBytes: MAX_WINDOW,
      windowShareBytes: SHARE,
      payloadBytes: WINDOW,
      budgetBytes: memory.budget,
    },
  });
  const model = new Model(pair, pool, clock, arrivals);
  const script: Op[] = [{ op: 'open', side: 'server', exec: false }, { op: 'open', side: 'agent', exec: true }, ...ops];
  if (at !== null) script.splice(at[0] % (script.length + 1), 0, at[1]);
  for (const op of script) await model.run(op);
  pair.link.resume();
  await model.drain();
  if (!model.over) {
    model.checkProgress();
    for (const one of model.all) one.end();
    await model.drain();
    for (const one of model.all) assert.equal(one.stream.state, 'closed', `stream ${one.stream.id} does not end`);
    assert.equal(pair.server.openStreams + pair.agent.openStreams, 0);
    assert.equal(pool.usedBytes, 0, 'memory leaked');
    await probe(pair.server, memory);
    await probe(pair.agent, memory);
    assert.equal(pool.usedBytes, 0);
    pair.link.cut();
  } else {
    clock.advance(1000);
    await Promise.all([pair.server.closed, pair.agent.closed]);
  }
  await settle(3);
  model.check();
  assert.equal(pool.usedBytes, 0, 'a session that has ended keeps memory');
  for (const one of model.all) {
    assert.equal(one.stream.state, 'closed');
    const cause = await one.stream.closed;
    const complete = one.peer?.wantedEnd === true && one.read === one.peer.written;
    if (cause !== undefined) assert.ok(!one.sawEnd || complete || one.leftReading);
  }
}

for (const memory of MEMORIES) {
  const { budget, pool } = memory;
  test(`any operations over two sessions, a budget of ${budget} and a pool of ${pool}`, {
    timeout: 30_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 60, size: 'max' }), disaster, (ops, at) =>
        play(memory, ops, at),
      ),
      { numRuns: 1000, interruptAfterTimeLimit: 1_800 },
    );
  });
}
