import assert from 'node:assert/strict';
import { test } from 'node:test';
import { machineBytes, streamMemoryBytes } from '../../../server/stream-memory.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

test('streams have a quarter of the memory, within reason', () => {
  const ofMachines = [GIB / 4, 2 * GIB, 3 * GIB + 1, 64 * GIB].map((bytes) => streamMemoryBytes(undefined, bytes));
  assert.deepEqual(ofMachines, [128 * MIB, 512 * MIB, 768 * MIB, GIB]);
});

test('the operator has the last word', () => {
  assert.equal(streamMemoryBytes(16, 64 * GIB), 16 * MIB);
  assert.equal(streamMemoryBytes(4096, GIB), 4 * GIB);
});

test('a machine has some memory', () => {
  assert.ok(machineBytes() > 16 * MIB && Number.isSafeInteger(machineBytes()));
});
