/** Sessions on trial: one of each host, for a while. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import type { NativeLink } from '../../../../server/mesh/native-link.ts';
import { TrialSessions } from '../../../../server/mesh/trial-sessions.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

function aLink(hostId: string, ends: string[]): NativeLink {
  const { promise: closed, resolve } = Promise.withResolvers<FairleadError>();
  const close = (code: FairleadError['code'], reason: string) => {
    ends.push(code);
    resolve(new FairleadError(code, reason));
  };
  return { hostId, closed, close, describe: () => ({ agentVersion: '0.2.0' }) } as unknown as NativeLink;
}

test('a trial ends after 90 s, or when a newer one of its host comes, and leaves no timer', async () => {
  const clock = new FakeClock();
  const log = pino({ level: 'silent' });
  const trials = new TrialSessions({ clock, log, isUnderWay: (hostId) => hostId === 'h1' });
  trials.requireExpected('h1');
  assert.throws(() => trials.requireExpected('h2'), { code: 'CONFLICT' });
  const [older, newer, other]: [string[], string[], string[]] = [[], [], []];
  trials.arrived(aLink('h1', older));
  trials.arrived(aLink('h2', other));
  clock.advance(60_000);
  assert.deepEqual([older, other], [[], []]);
  const next = aLink('h1', newer);
  trials.arrived(next);
  assert.deepEqual(older, ['REPLACED']);
  await Promise.resolve();
  clock.advance(30_000);
  assert.deepEqual([older, newer, other], [['REPLACED'], [], ['TIMEOUT']]);
  clock.advance(60_000);
  assert.deepEqual(newer, ['TIMEOUT']);
  await next.closed;
  await Promise.resolve();
  assert.equal(clock.pendingTimers, 0);
});
