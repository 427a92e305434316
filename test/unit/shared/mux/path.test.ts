import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Path } from '../../../../shared/mux/path.ts';

/** The difference of the two clocks. */
const CLOCKS = -54_321;

/** A frame that took so long there and back, whose ack comes at `now`. */
function take(path: Path, now: number, there: number, back: number): void {
  const sentAt = now - there - back;
  path.take({ roundTripMs: there + back, sentAt, arrivedAt: sentAt + there + CLOCKS }, now);
}

test('nothing is known before the first round trip', () => {
  const path = new Path();
  assert.deepEqual([path.smallest, path.smoothed, path.queueMs, path.returnQueueMs], [undefined, undefined, 0, 0]);
  assert.equal(path.measureAnew(1e9, true), false);
});

test('the queue on the way there and the one on the way back are told apart, whatever the clocks', () => {
  const path = new Path();
  take(path, 100, 20, 20);
  for (let now = 200; now < 400; now += 2) take(path, now, 20, 50);
  assert.equal(path.queueMs, 0);
  assert.ok(path.returnQueueMs > 25 && path.returnQueueMs <= 30, `${path.returnQueueMs}`);
  for (let now = 400; now < 600; now += 2) take(path, now, 45, 20);
  assert.equal(path.queueMs, 25);
  assert.ok(path.returnQueueMs < 2, `${path.returnQueueMs}`);
});

test('a pong counts as a round trip', () => {
  const path = new Path();
  path.ponged(41, 100);
  assert.deepEqual([path.smallest, path.smoothed], [41, 41]);
  path.ponged(49, 200);
  assert.deepEqual([path.smallest, path.smoothed], [41, 42]);
});

test('a smallest round trip that is not seen for ten seconds is measured anew', () => {
  const path = new Path();
  take(path, 100, 20, 20);
  take(path, 9_000, 60, 60);
  assert.equal(path.measureAnew(9_000, true), false);
  assert.equal(path.measureAnew(10_101, false), true, 'and what is in flight has to fall first');
  assert.equal(path.measureAnew(10_150, true), true);
  take(path, 10_200, 60, 60);
  assert.equal(path.smallest, 40, 'that was sent before the queue was empty');
  take(path, 10_280, 50, 60);
  assert.equal(path.measureAnew(10_290, false), true);
  take(path, 10_330, 55, 60);
  assert.equal(path.smallest, 110);
  assert.equal(path.queueMs, 5);
  assert.equal(path.measureAnew(10_330, true), false);
});

test('one that is seen again is believed for another ten seconds', () => {
  const path = new Path();
  take(path, 100, 20, 20);
  take(path, 10_000, 21, 20);
  assert.equal(path.measureAnew(19_000, true), false);
  assert.equal(path.smallest, 40);
});

test('doubt begins a measurement at once, but not again and again', () => {
  const path = new Path();
  take(path, 100, 20, 20);
  path.doubt(200);
  assert.equal(path.measureAnew(200, true), true);
  take(path, 400, 80, 80);
  take(path, 410, 80, 80);
  assert.equal(path.smallest, 160);
  path.doubt(500);
  assert.equal(path.measureAnew(500, true), false);
  path.doubt(2_000);
  assert.equal(path.measureAnew(2_000, true), false, 'ten round trips have to pass');
  path.doubt(2_050);
  assert.equal(path.measureAnew(2_050, true), true);
});
