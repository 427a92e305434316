import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pacer } from '../../../../shared/mux/pacer.ts';

const FRAME = 16 * 1024;

/** Frames that leave in so many ms, asked as often as the pacer says. */
function run(pacer: Pacer, from: number, ms: number, perMs: number): number {
  let frames = 0;
  for (let now = from; now < from + ms; ) {
    const waitMs = pacer.waitMs(now, perMs, FRAME);
    if (waitMs === 0) {
      pacer.sent(FRAME);
      frames += 1;
    } else {
      now += Math.max(1, Math.ceil(waitMs)) + 1;
    }
  }
  return frames;
}

for (const perMs of [250, 2_500, 25_000]) {
  test(`at ${perMs} bytes/ms it lets that much pass, though timers are late`, () => {
    const frames = run(new Pacer(), 1_000, 10_000, perMs);
    const wanted = (10_000 * perMs) / FRAME;
    assert.ok(Math.abs(frames / wanted - 1) < 0.05, `${frames} of ${wanted}`);
  });
}

test('after a pause a burst of two frames leaves, not all that could have left meanwhile', () => {
  const pacer = new Pacer();
  run(pacer, 0, 1_000, 2_500);
  let burst = 0;
  while (pacer.waitMs(60_000, 2_500, FRAME) === 0) {
    pacer.sent(FRAME);
    burst += 1;
  }
  assert.equal(burst, 2);
});

test('frames that leave without asking are paid for by the next', () => {
  const pacer = new Pacer();
  run(pacer, 0, 1_000, 2_500);
  pacer.sent(50_000);
  const waitMs = pacer.waitMs(1_002, 2_500, FRAME);
  assert.ok(waitMs > 10, `${waitMs}`);
});
