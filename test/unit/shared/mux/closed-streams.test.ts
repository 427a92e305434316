import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClosedStreams } from '../../../../shared/mux/closed-streams.ts';

const GRACE = 1000;

test('the highest id is the last that was opened', () => {
  const ids = new ClosedStreams(GRACE, 0);
  assert.equal(ids.highest, 0);
  ids.opened(2, 0);
  ids.opened(8, 0);
  assert.equal(ids.highest, 8);
});

test('a stream that just closed is forgiven', () => {
  const ids = new ClosedStreams(GRACE, 0);
  ids.opened(2, 0);
  ids.closed(2, 10);
  assert.equal(ids.forgives(2, 10), true);
  assert.equal(ids.forgives(2, 10 + GRACE - 1), true);
});

test('a stream is forgiven for a whole grace after its close, however long it lived', () => {
  for (const lived of [0, 1, 500, 999, 1000, 1001, 2500, 100_000]) {
    for (const looks of [false, true]) {
      const ids = new ClosedStreams(GRACE, 0);
      ids.opened(2, 0);
      for (let now = 100; looks && now <= lived; now += 100) ids.opened(2 + now, now);
      ids.closed(2, lived);
      for (let now = lived; looks && now < lived + GRACE; now += 100) ids.opened(1_000_000 + now, now);
      assert.equal(ids.forgives(2, lived + GRACE - 1), true, `lived ${lived} ms, looked ${looks}`);
    }
  }
});

test('no stream is forgiven for more than two graces', () => {
  for (const lived of [0, 1, 500, 999, 1000, 1001, 2500, 100_000]) {
    const silent = new ClosedStreams(GRACE, 0);
    silent.opened(2, 0);
    silent.closed(2, lived);
    assert.equal(silent.forgives(2, lived + 2 * GRACE), false, `lived ${lived} ms, nothing happened since`);
    const busy = new ClosedStreams(GRACE, 0);
    busy.opened(2, 0);
    busy.closed(2, lived);
    // A mark is only taken when there is something to look at.
    for (let now = lived; now < lived + 2 * GRACE + 200; now += 100) busy.opened(1_000_000 + now, now);
    assert.equal(busy.forgives(2, lived + 2 * GRACE + 200), false, `lived ${lived} ms, others came and went`);
  }
});

test('an old stream that closed late is forgiven, while its contemporaries no longer are', () => {
  const ids = new ClosedStreams(GRACE, 0);
  ids.opened(2, 0);
  ids.opened(4, 0);
  ids.closed(2, 1);
  ids.opened(6, 5000);
  ids.closed(4, 5001);
  assert.equal(ids.forgives(2, 5002), false);
  assert.equal(ids.forgives(4, 5002), true);
  assert.equal(ids.forgives(4, 5001 + GRACE), false);
});
