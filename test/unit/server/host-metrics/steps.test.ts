/** Which rows answer a question about the past, and in which steps. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Asked, MAX_POINTS, planOf } from '../../../../server/host-metrics/steps.ts';

const NOW = 1_800_000_000;
const DAY = 86_400;
const KEPT = { samples: DAY, fine: 30 * DAY, coarse: 365 * DAY };
const plan = (asked: Asked, interval = 30) => planOf(asked, NOW, KEPT, interval);
const last = (seconds: number, step?: number) =>
  plan({ from: NOW - seconds, to: NOW, ...(step === undefined ? {} : { step }) });

test('without a step, the least round one that makes no more points than an answer may have', () => {
  assert.deepEqual([last(3600).step, last(3600).rows], [30, 0]);
  assert.deepEqual([last(DAY).step, last(DAY).rows], [120, 0]);
  assert.deepEqual([last(7 * DAY).step, last(7 * DAY).rows], [900, 300]);
  assert.deepEqual([last(30 * DAY).step, last(30 * DAY).rows], [3600, 3600]);
  assert.deepEqual([last(365 * DAY).step, last(365 * DAY).rows], [43_200, 3600]);
  assert.deepEqual(last(NOW).step, 21 * DAY);
  assert.equal(plan({ from: NOW - 600, to: NOW }, 60).step, 60);
});

test('a step is raised to what is still kept, and to whole rows', () => {
  assert.equal(last(2 * DAY, 240).step, 300);
  assert.equal(last(3600, 450).step, 600);
  assert.deepEqual([last(31 * DAY, 3600).step, last(40 * DAY, 3601).step], [3600, 7200]);
  assert.equal(last(3600, 7).step, 7);
});

test('too many points are refused with the step to ask for', () => {
  const refusal = { code: 'VALIDATION', message: /give 120s or more/ };
  assert.throws(() => last(DAY, 1), refusal);
  assert.throws(() => plan({ from: 5, to: 5 }), { code: 'VALIDATION', message: /from must be before to/ });
});

test('a range that is to come is one without points, not an error', () => {
  const { from, to } = plan({ from: NOW + 1000, to: NOW + 2000 });
  assert.ok(from < to && to <= NOW + 60);
});

test('every plan keeps to its limits and covers what was asked for', () => {
  const time = fc.double({ min: 0, max: NOW + DAY, noNaN: true });
  const step = fc.option(fc.integer({ min: 1, max: 400 * DAY }), { nil: undefined });
  fc.assert(
    fc.property(time, time, step, fc.integer({ min: 1, max: 3600 }), (a, b, wanted, interval) => {
      fc.pre(a !== b);
      const asked = { from: Math.min(a, b), to: Math.max(a, b), ...(wanted === undefined ? {} : { step: wanted }) };
      try {
        const made = plan(asked, interval);
        assert.ok((made.to - made.from) / made.step <= MAX_POINTS);
        assert.ok(made.from % made.step === 0 && made.to % made.step === 0 && made.from < made.to);
        if (asked.from < NOW) assert.ok(made.from <= asked.from && made.to >= Math.min(asked.to, NOW));
        assert.ok(made.step >= (wanted ?? interval));
        if (made.rows > 0) assert.equal(made.step % made.rows, 0);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'VALIDATION');
        assert.ok(wanted !== undefined);
      }
    }),
  );
});
