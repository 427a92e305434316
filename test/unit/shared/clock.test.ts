import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { systemClock } from '../../../shared/clock.ts';

test('now is wall-clock time', () => {
  const before = Date.now();
  const now = systemClock.now();
  assert.ok(now >= before && now <= Date.now());
});

test('monotonic never goes back', () => {
  let last = systemClock.monotonic();
  for (let i = 0; i < 1000; i++) {
    const next = systemClock.monotonic();
    assert.ok(next >= last);
    last = next;
  }
});

test('a delay beyond what Node takes is clamped instead of firing at once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let fired = 0;
  systemClock.setTimeout(() => fired++, 30 * 86_400_000);
  t.mock.timers.tick(2 ** 31 - 2);
  assert.equal(fired, 0);
  t.mock.timers.tick(1);
  assert.equal(fired, 1);
});

test('a cancelled timer does not fire', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  let fired = 0;
  systemClock.setTimeout(() => fired++, 10).cancel();
  const interval = systemClock.setInterval(() => fired++, 10);
  t.mock.timers.tick(25);
  assert.equal(fired, 2);
  interval.cancel();
  t.mock.timers.tick(100);
  assert.equal(fired, 2);
});

test('timers do not keep the process alive', () => {
  const url = new URL('../../../shared/clock.ts', import.meta.url);
  const script = `import { systemClock } from '${url}';
    systemClock.setTimeout(() => {}, 60_000);
    systemClock.setInterval(() => {}, 60_000);`;
  const run = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { timeout: 20_000 });
  assert.equal(run.status, 0, String(run.stderr));
});
