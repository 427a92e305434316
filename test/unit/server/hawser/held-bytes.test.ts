/** Answers that came whole: counted until they are read, at the pace of their reader, and refused when there are too many. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { HeldBytes } from '../../../../server/hawser/held-bytes.ts';
import { SESSION_WHOLE_BYTES, WHOLE_MS, WHOLE_SLOW_MS } from '../../../../server/hawser/limits.ts';
import { WholeAnswers } from '../../../../server/hawser/whole-answers.ts';
import { MemoryPool } from '../../../../shared/mux/memory-pool.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const LARGE = Buffer.alloc(SESSION_WHOLE_BYTES / 4, 7);

function setUp(totalBytes = 1024 * 1024 * 1024) {
  const clock = new FakeClock();
  const memory = new MemoryPool(totalBytes);
  return { clock, memory, wholes: new WholeAnswers({ clock, memory }) };
}

test('an answer is counted until it is read, piece by piece, and comes as it was', async () => {
  const { clock, memory, wholes } = setUp();
  const bytes = HeldBytes.of(wholes, LARGE);
  assert.equal(memory.usedBytes, LARGE.byteLength);
  const read: Buffer[] = [];
  for await (const chunk of bytes as AsyncIterable<Buffer>) {
    read.push(chunk);
    assert.ok(chunk.byteLength <= 256 * 1024, String(chunk.byteLength));
    if (read.length === 1) assert.ok(wholes.bytes > LARGE.byteLength / 2);
  }
  assert.ok(Buffer.concat(read).equals(LARGE));
  assert.deepEqual([memory.usedBytes, wholes.bytes, clock.pendingTimers], [0, 0, 0]);
  assert.deepEqual(await HeldBytes.of(wholes, Buffer.alloc(0)).toArray(), []);
  assert.deepEqual(await HeldBytes.none().toArray(), []);
});

test('a client that does not read its answer is ended in time, and nothing of it is left', async () => {
  const { clock, memory, wholes } = setUp();
  const bytes = HeldBytes.of(wholes, LARGE);
  bytes.read(10);
  clock.advance(WHOLE_MS);
  await turn();
  assert.equal((bytes.errored as { code?: string } | null)?.code, 'TIMEOUT');
  assert.deepEqual([memory.usedBytes, clock.pendingTimers], [0, 0]);
});

test('when there is no room, a new answer is refused, until one that is read slowly can go for it', async () => {
  const { clock, wholes } = setUp();
  const held = Array.from({ length: 4 }, () => HeldBytes.of(wholes, LARGE));
  const next = Buffer.alloc(100 * 1024);
  assert.throws(() => HeldBytes.of(wholes, next), { code: 'OVERLOADED' });
  assert.equal(HeldBytes.of(wholes, Buffer.from('done')).destroyed, false);
  clock.advance(WHOLE_SLOW_MS);
  HeldBytes.of(wholes, next);
  await turn();
  assert.equal(held.filter(({ destroyed }) => destroyed).length, 1);
  assert.equal(wholes.bytes, 3 * LARGE.byteLength + next.byteLength + 4);
  const poor = setUp(LARGE.byteLength - 1);
  assert.throws(() => HeldBytes.of(poor.wholes, LARGE), { code: 'OVERLOADED' });
  assert.equal(poor.memory.usedBytes, 0);
});
