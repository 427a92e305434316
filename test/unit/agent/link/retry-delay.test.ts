import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endOfAttempt, finalExit } from '../../../../agent/link/outcome.ts';
import { RetryDelay } from '../../../../agent/link/retry-delay.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { UnreachableError } from '../../../../shared/pinned-http.ts';

const lost = { code: 'STREAM_INTERRUPTED', reason: '' };
const replaced = { code: 'REPLACED', reason: '' };

test('the delay doubles from one second to sixty, with full jitter', () => {
  const highest = new RetryDelay(() => 0.999_999);
  const delays = Array.from({ length: 8 }, () => highest.next(lost, 0));
  assert.deepEqual(delays, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  const lowest = new RetryDelay(() => 0);
  assert.equal(lowest.next(lost, 0), 0);
});

test('a session that stayed up for a minute starts the delays anew, a shorter one does not', () => {
  const delay = new RetryDelay(() => 0.5);
  assert.equal(delay.next(lost, 0), 500);
  assert.equal(delay.next(lost, 59_999), 1000);
  assert.equal(delay.next(lost, 60_000), 500);
});

test('a server that says when to come back is heeded, within bounds', () => {
  const delay = new RetryDelay(() => 0.5);
  assert.equal(delay.next({ ...lost, retryAfterMs: 7000 }, 0), 7500);
  assert.equal(delay.next({ ...lost, retryAfterMs: 10 ** 9 }, 0), 600_000 + 1000);
});

test('after a replacement it waits at least seconds, and longer every time, however long the sessions', () => {
  const delay = new RetryDelay(() => 0);
  const delays = Array.from({ length: 9 }, () => delay.next(replaced, 120_000));
  assert.deepEqual(delays, [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000]);
  assert.equal(delay.next(replaced, 3_600_000), 5000);
});

test('only ends that waiting does not cure are final', () => {
  assert.equal(finalExit({ code: 'CERT_REVOKED', reason: '' }), 3);
  assert.equal(finalExit({ code: 'CERT_EXPIRED', reason: '' }), undefined);
  assert.equal(finalExit({ code: 'VERSION', reason: '' }), 6);
  for (const code of ['CERT_UNKNOWN', 'SHUTDOWN', 'REPLACED', 'TIMEOUT', 'refused', 'dns', 'tls']) {
    assert.equal(finalExit({ code, reason: '' }), undefined, code);
  }
});

test('a failed attempt is told by what stood in the way, or by the code of the refusal', () => {
  assert.equal(endOfAttempt(new UnreachableError('dns', 'x')).code, 'dns');
  const limited = new FairleadError('RATE_LIMITED', 'x', { retryAfterSeconds: 3 });
  assert.deepEqual(endOfAttempt(limited), { code: 'RATE_LIMITED', reason: 'x', retryAfterMs: 3000 });
  assert.throws(() => endOfAttempt(new RangeError('a fault of ours')), RangeError);
});

test('in quarantine it looks in after a while, and less and less often', () => {
  const delay = new RetryDelay(() => 0);
  const end = { code: 'QUARANTINED', reason: '' };
  const delays = Array.from({ length: 6 }, () => delay.next(end, 0));
  assert.deepEqual(delays, [15_000, 30_000, 60_000, 120_000, 240_000, 240_000]);
  assert.equal(finalExit(end), undefined);
});
