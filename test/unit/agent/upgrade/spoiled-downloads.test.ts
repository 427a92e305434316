import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpoiledDownloads } from '../../../../agent/upgrade/spoiled-downloads.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

test('after three downloads that do not fit there is a pause, and a longer one after each that follows', () => {
  const clock = new FakeClock();
  const spoiled = new SpoiledDownloads(clock);
  for (let count = 0; count < 2; count += 1) spoiled.add();
  assert.equal(spoiled.refusal(), undefined);
  for (const seconds of [60, 120, 240, 480, 960, 1920, 3600, 3600]) {
    spoiled.add();
    assert.equal(spoiled.refusal()?.retryAfterSeconds, seconds);
    clock.advance(seconds * 1000 - 1);
    assert.equal(spoiled.refusal()?.code, 'OVERLOADED');
    clock.advance(1);
    assert.equal(spoiled.refusal(), undefined);
  }
  spoiled.clear();
  spoiled.add();
  assert.equal(spoiled.refusal(), undefined);
});
