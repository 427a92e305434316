/** In a process of its own, as every test file is: what is set here is set for good. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { countStreamedBytes, keepYoungHeapSmall } from '../../../shared/young-heap.ts';

const MIB = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
/** What a slow reader leaves waiting, which is long enough for the garbage collector to take each chunk for old. */
const WAITING_BYTES = 4 * MIB;
const STREAMED_BYTES = 200 * MIB;
/** Between two MiB: a link of a Gbit/s. At ten times that a full collection would be due all the time, and is not made. */
const PAUSE_MS = 8;

test('what streams past a slow reader, and grows old as it waits, does not pile up as garbage', async () => {
  keepYoungHeapSmall();
  const waiting: Buffer[] = [];
  let objects: unknown[] = [];
  let peak = 0;
  for (let streamed = 0; streamed < STREAMED_BYTES; streamed += CHUNK_BYTES) {
    waiting.push(Buffer.allocUnsafeSlow(CHUNK_BYTES));
    if (waiting.length * CHUNK_BYTES > WAITING_BYTES) waiting.shift();
    // As the lines of a log make: they fill the space for young objects again and again.
    objects = Array.from({ length: 600 }, (_, index) => ({ streamed, index }));
    countStreamedBytes(CHUNK_BYTES);
    if (streamed % MIB !== 0) continue;
    peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    await sleep(PAUSE_MS);
  }
  assert.equal(objects.length, 600);
  assert.ok(peak > WAITING_BYTES);
  assert.ok(peak < 40 * MIB, `${(peak / MIB).toFixed(1)} MiB are held for ${WAITING_BYTES / MIB}`);
});
