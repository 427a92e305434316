import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryPool } from '../../../../shared/mux/memory-pool.ts';
import { DEFAULT_LIMITS } from '../../../../shared/mux/session-limits.ts';
import { SessionMemory } from '../../../../shared/mux/session-memory.ts';

const BASE = 1000;
const SHARE = 100;
const LIMITS = { ...DEFAULT_LIMITS, initialWindowBytes: BASE, windowShareBytes: SHARE, budgetBytes: 10_000 };

test('a pool has room up to its last byte', () => {
  const pool = new MemoryPool(10_000);
  pool.count(9000);
  assert.equal(pool.hasRoom(1000), true);
  assert.equal(pool.hasRoom(1001), false);
  pool.count(-9000);
  assert.equal(pool.usedBytes, 0);
});

test('windows grow in the first half, keep their base up to four fifths, and their share beyond', () => {
  const pool = new MemoryPool(10_000);
  const maxima = [0, 2000, 4500, 5000, 7999, 8000, 10_000].map((used) => {
    pool.count(used - pool.usedBytes);
    return pool.maxWindow(BASE, SHARE);
  });
  assert.deepEqual(maxima, [5000, 3000, BASE, BASE, BASE, SHARE, SHARE]);
  assert.equal(pool.windowRoom, -2000);
});

test('streams that all want more come to have the same', () => {
  const pool = new MemoryPool(100_000);
  const windows = Array.from({ length: 9 }, () => 0);
  for (let round = 0; round < 50; round += 1) {
    for (const [index, window] of windows.entries()) {
      // Half of it was taken when the next limit goes out.
      pool.count(-Math.floor(window / 2));
      const next = Math.min(pool.maxWindow(BASE, SHARE), 16_000);
      pool.count(next - Math.ceil(window / 2));
      windows[index] = next;
    }
  }
  assert.ok(pool.usedBytes <= 50_000);
  assert.ok(Math.min(...windows) >= 4000 && Math.max(...windows) <= 6000, `${windows}`);
});

test('an unlimited pool limits nothing', () => {
  const pool = new MemoryPool(Number.POSITIVE_INFINITY);
  pool.count(1e12);
  assert.equal(pool.hasRoom(1e12), true);
  assert.equal(pool.maxWindow(BASE, SHARE), Number.POSITIVE_INFINITY);
});

test('what a session counts is in the pool until the session ends, and then nothing is', () => {
  const pool = new MemoryPool(100_000);
  const first = new SessionMemory(LIMITS, pool);
  const second = new SessionMemory(LIMITS, pool);
  first.countWindow(3000);
  first.countQueued(500);
  assert.equal(first.countAssembly(200), true);
  second.countWindow(1000);
  assert.equal(first.bytes, 3700);
  assert.equal(pool.usedBytes, first.bytes + second.bytes);
  first.countQueued(-500);
  first.close();
  first.close();
  assert.equal(pool.usedBytes, 1000);
  // A reader may go on with what a session that has ended brought.
  first.countWindow(-3000);
  assert.equal(pool.usedBytes, 1000);
  assert.equal(first.bytes, 0);
});

test('a session has what both its own budget and the pool have left', () => {
  const pool = new MemoryPool(10_000);
  const memory = new SessionMemory(LIMITS, pool);
  const other = new SessionMemory(LIMITS, pool);
  assert.equal(memory.windowRoom, 8000);
  other.countWindow(6000);
  assert.equal(memory.windowRoom, 2000);
  assert.equal(memory.maxWindow(1), BASE);
  assert.equal(memory.hasStreamRoom, true);
  other.countWindow(3001);
  assert.equal(memory.hasStreamRoom, false);
  assert.equal(memory.maxWindow(1), SHARE);
  assert.equal(memory.countAssembly(999), true);
  assert.equal(memory.countAssembly(1), false);
  assert.equal(memory.countAssembly(-999), true);
});

test('without a pool a session goes by its own budget', () => {
  const memory = new SessionMemory(LIMITS, undefined);
  memory.countWindow(4000);
  assert.equal(memory.windowRoom, 6000);
  assert.equal(memory.maxWindow(4), 2500);
  assert.equal(memory.hasStreamRoom, true);
  assert.equal(memory.countAssembly(10_001), false);
});
