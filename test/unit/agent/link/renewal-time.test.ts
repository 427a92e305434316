import assert from 'node:assert/strict';
import type { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { renewalTime } from '../../../../agent/link/renewal-time.ts';

const DAY_MS = 86_400_000;
const START = Date.UTC(2030, 0, 1);

/** A certificate that was issued at START, and so is valid from 5 minutes before. */
function living(lifeMs: number): X509Certificate {
  const dates = { validFromDate: new Date(START - 300_000), validToDate: new Date(START + lifeMs) };
  return dates as unknown as X509Certificate;
}

test('a long life is renewed from 7 days before its end, spread over an eighth of them', () => {
  const day = (random: number) => (renewalTime(living(30 * DAY_MS), 7 * DAY_MS, random) - START) / DAY_MS;
  assert.equal(day(0), 23);
  assert.equal(day(0.5), 23 + 7 / 16);
  assert.equal(day(1), 23 + 7 / 8);
});

test('a short life is renewed by its half at the latest, and not at once', () => {
  for (const lifeMs of [10_000, 40_000, 3_600_000, 10 * DAY_MS]) {
    const part = (random: number) => (renewalTime(living(lifeMs), 7 * DAY_MS, random) - START) / lifeMs;
    assert.ok(part(0) > 0.25, `${lifeMs}: ${part(0)}`);
    assert.ok(part(1) <= 0.5 + 1e-9, `${lifeMs}: ${part(1)}`);
  }
});
