import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Liveness } from '../../../../shared/mux/liveness.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

function make() {
  const clock = new FakeClock();
  const liveness = new Liveness(clock);
  const silences: number[] = [];
  return {
    clock,
    liveness,
    silences,
    start: (ms: number) => liveness.start(ms, () => silences.push(clock.monotonic())),
  };
}

test('silence is noticed when it has lasted, and not before', () => {
  const { clock, silences, start } = make();
  clock.advance(500);
  start(1000);
  clock.advance(999);
  assert.deepEqual(silences, []);
  clock.advance(1);
  assert.deepEqual(silences, [1500]);
  clock.advance(10_000);
  assert.equal(silences.length, 1);
});

test('whatever is heard puts it off, to the millisecond', () => {
  const { clock, liveness, silences, start } = make();
  start(1000);
  for (let count = 0; count < 50; count += 1) {
    clock.advance(900);
    liveness.heard();
    assert.equal(liveness.heardAt, clock.monotonic());
  }
  assert.deepEqual(silences, []);
  clock.advance(999);
  assert.deepEqual(silences, []);
  clock.advance(1);
  assert.equal(silences.length, 1);
});

test('nothing is noticed before the start or after the stop', () => {
  const { clock, liveness, silences, start } = make();
  clock.advance(5000);
  assert.deepEqual(silences, []);
  start(1000);
  liveness.stop();
  liveness.stop();
  clock.advance(5000);
  assert.deepEqual(silences, []);
  assert.equal(clock.pendingTimers, 0);
});

test('a second start replaces the first', () => {
  const { clock, silences, start } = make();
  start(1000);
  clock.advance(500);
  start(2000);
  assert.equal(clock.pendingTimers, 1);
  clock.advance(1999);
  assert.deepEqual(silences, []);
  clock.advance(1);
  assert.deepEqual(silences, [2500]);
});
