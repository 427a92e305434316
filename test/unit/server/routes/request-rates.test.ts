/** One token's requests are paced; no other token pays for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestRates } from '../../../../server/routes/request-rates.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { as, ask, fixture } from './fakes.ts';

test('a token may make a sixth of its requests at once, then as many as come due', () => {
  const clock = new FakeClock();
  const rates = new RequestRates(clock, 60);
  for (let i = 0; i < 10; i++) rates.take('a');
  assert.throws(() => rates.take('a'), { code: 'RATE_LIMITED', retryAfterSeconds: 1, message: /10 at once and 60/ });
  rates.take('b');
  clock.advance(999);
  assert.throws(() => rates.take('a'), { code: 'RATE_LIMITED' });
  clock.advance(1);
  rates.take('a');
  assert.throws(() => rates.take('a'));
  clock.advance(3_600_000);
  for (let i = 0; i < 10; i++) rates.take('a');
  assert.throws(() => rates.take('a'), { code: 'RATE_LIMITED' });
});

test('refused requests cost a token nothing: it goes on at its pace however fast it asks', () => {
  const clock = new FakeClock();
  const rates = new RequestRates(clock, 60);
  let taken = 0;
  for (let ms = 0; ms < 60_000; ms += 10) {
    try {
      rates.take('a');
      taken++;
    } catch {
      // one too many
    }
    clock.advance(10);
  }
  assert.ok(taken >= 68 && taken <= 70, String(taken));
});

test('only so many tokens are remembered', () => {
  const rates = new RequestRates(new FakeClock(), 60);
  for (let i = 0; i < 10_500; i++) rates.take(`token ${i}`);
  assert.equal(rates.size, 10_000);
});

test('a runaway script is told when to come back, and another token is served meanwhile', async (t) => {
  const { api } = await fixture({ overrides: { clock: new FakeClock(), limits: { requestsPerMinuteOfToken: 30 } } });
  t.after(() => api.close());
  const asking = (role: 'viewer' | 'operator') => ask(api, { url: '/api/v1/whoami', headers: as(role) });
  const statuses: number[] = [];
  for (let i = 0; i < 7; i++) statuses.push((await asking('viewer')).statusCode);
  assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429, 429]);
  const limited = await asking('viewer');
  assert.equal(limited.headers['retry-after'], '2');
  assert.equal(limited.json().code, 'RATE_LIMITED');
  assert.equal((await asking('operator')).statusCode, 200);
});
