/** What slow readers of one host may do to the others, whose bytes come by the same socket: hold it up for a fifth of the time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InboundGate } from '../../../../server/hawser/inbound-gate.ts';
import {
  BEHIND_MS,
  HARD_BUFFER_BYTES,
  SOFT_BUFFER_BYTES,
  URGENT_BUFFER_BYTES,
} from '../../../../server/hawser/limits.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const MIB = 1024 * 1024;

function setUp() {
  const clock = new FakeClock();
  let pausedSince: number | undefined;
  let pausedMs = 0;
  const end = () => {
    pausedMs += clock.monotonic() - (pausedSince ?? clock.monotonic());
    pausedSince = undefined;
  };
  const begin = () => {
    pausedSince = clock.monotonic();
  };
  const gate = new InboundGate({ clock, pause: begin, resume: end });
  const reader = () => {
    const failed: string[] = [];
    return { failed, fail: (error: { code: string }) => void failed.push(error.code) };
  };
  const isPaused = () => pausedSince !== undefined;
  return { clock, gate, reader, isPaused, pausedMs: () => pausedMs };
}

test('a reader that is behind and reads nothing loses its stream within seconds, however little it holds', () => {
  const { clock, gate, reader, isPaused, pausedMs } = setUp();
  const one = reader();
  gate.set(one, 2 * MIB);
  clock.advance(BEHIND_MS + 2_000);
  assert.deepEqual(one.failed, ['OVERLOADED']);
  assert.equal(gate.bytes, 0);
  assert.equal(isPaused(), false);
  assert.ok(pausedMs() <= 3_000, String(pausedMs()));
  clock.advance(1_000);
  assert.equal(clock.pendingTimers, 0);
});

test('readers that come one after the other, or read just enough, hold up the socket for a fifth of the time', () => {
  const { clock, gate, reader, pausedMs } = setUp();
  for (let n = 0; n < 100; n++) {
    const one = reader();
    gate.set(one, SOFT_BUFFER_BYTES + 1);
    clock.advance(950);
    gate.set(one, SOFT_BUFFER_BYTES);
    clock.advance(50);
    gate.set(one, 0);
  }
  assert.ok(pausedMs() <= 23_000, String(pausedMs()));
  const before = pausedMs();
  const steady = reader();
  for (let n = 0; n < 100; n++) {
    gate.set(steady, SOFT_BUFFER_BYTES + 1);
    clock.advance(950);
    gate.set(steady, SOFT_BUFFER_BYTES);
    clock.advance(50);
  }
  assert.ok(pausedMs() - before <= 23_000, String(pausedMs() - before));
});

test('a reader of a good pace has the socket wait for it as long as it reads', () => {
  const { clock, gate, reader, isPaused } = setUp();
  const download = reader();
  for (let n = 0; n < 200; n++) {
    gate.set(download, 3 * MIB);
    assert.equal(isPaused(), true, String(n));
    clock.advance(500);
    gate.set(download, SOFT_BUFFER_BYTES);
    assert.equal(isPaused(), false);
    clock.advance(50);
  }
  assert.deepEqual(download.failed, []);
});

test('an agent that fills in a moment what a reader of a good pace takes long to read costs that one nothing', () => {
  const { clock, gate, reader, isPaused } = setUp();
  const download = reader();
  for (let n = 0; n < 200; n++) {
    // Between two looks of the gate, for as long as the socket is read.
    for (let held = SOFT_BUFFER_BYTES; !isPaused(); held += 64 * 1024) {
      assert.ok(held < HARD_BUFFER_BYTES, String(n));
      gate.set(download, held);
    }
    clock.advance(500);
    gate.set(download, SOFT_BUFFER_BYTES);
    assert.equal(isPaused(), false);
  }
  assert.deepEqual(download.failed, []);
  const idle = reader();
  for (let n = 0; idle.failed.length === 0; n++) {
    assert.ok(n < 100);
    gate.set(idle, URGENT_BUFFER_BYTES + n * 64 * 1024);
    clock.advance(100);
  }
  assert.deepEqual(idle.failed, ['OVERLOADED']);
});
