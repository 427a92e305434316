/** Hosts are asked for samples from when they come until they go, at the server's pace. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MetricsFeed } from '../../../../server/host-metrics/feed.ts';
import type { HostLink } from '../../../../server/hosts/host-link.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { HostSample } from '../../../../shared/messages/metrics.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type FakeLink, fakeLink } from '../hosts/fake-link.ts';

const INTERVAL_MS = 30_000;
const SAMPLE: HostSample = { at: 1, uptimeSeconds: 1 };

function made(t: TestContext) {
  const clock = new FakeClock();
  const registry = new HostRegistry();
  const asked: { params: unknown; at: number; signal: AbortSignal | undefined }[] = [];
  const taken: string[] = [];
  const warnings: unknown[] = [];
  /** What hosts answer, one after the other; the last one again and again. */
  const answers: (HostSample | FairleadError | 'nothing')[] = [SAMPLE];
  const feed = new MetricsFeed({
    ...{ registry, clock, intervalMs: INTERVAL_MS, random: () => 0.5 },
    log: { debug: () => undefined, warn: (line: unknown) => void warnings.push(line) },
    take: (hostId) => void taken.push(hostId),
  });
  t.after(() => feed.close());
  const connect = (capabilities = ['host.metrics']): FakeLink => {
    const link = fakeLink('h', 'one', { capabilities });
    const call = async (_kind: unknown, params: unknown, { signal }: { signal?: AbortSignal }) => {
      asked.push({ params, at: clock.monotonic(), signal });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer === 'nothing') {
        return await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
      }
      if (answer instanceof FairleadError) throw answer;
      return { reading: asked.length, sample: answer };
    };
    Object.assign(link, { call: call as HostLink['call'] });
    registry.attach(link);
    return link;
  };
  /** Lets time pass until hosts were asked so often. */
  const askedTimes = async (count: number, stepMs = 500) => {
    while (asked.length < count) {
      await settled();
      clock.advance(stepMs);
      await settled();
    }
  };
  return { clock, asked, taken, warnings, answers, feed, connect, askedTimes };
}

/** Lets whatever is under way come to rest. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

test('a host that serves it is asked in the interval, each time for what was since the last one', async (t) => {
  const { asked, taken, connect, askedTimes } = made(t);
  connect();
  await askedTimes(4);
  assert.deepEqual(
    asked.map(({ params }) => params),
    [{}, { since: 1 }, { since: 2 }, { since: 3 }],
  );
  const [first = 0, ...others] = asked.map(({ at }) => at);
  assert.ok(first <= 1_000);
  assert.deepEqual(
    others.map((at) => at - first),
    [22_500, 52_500, 82_500],
  );
  assert.equal(taken.length, 4);
});

test('a host that does not serve it, or denies it, is left alone', async (t) => {
  const { clock, asked, answers, connect } = made(t);
  connect(['container.list']);
  answers[0] = new FairleadError('DENIED_BY_HOST', 'no');
  connect();
  for (let i = 0; i < 40; i++) {
    clock.advance(60_000);
    await settled();
  }
  assert.equal(asked.length, 1);
});

test('a host that fails is asked again, later each time, and in the interval once it answers', async (t) => {
  const { asked, taken, warnings, answers, connect, askedTimes } = made(t);
  const failure = () => new FairleadError('TIMEOUT', 'nothing came');
  answers.splice(0, 1, failure(), failure(), failure(), SAMPLE);
  connect();
  await askedTimes(5);
  const times = asked.map(({ at }) => at);
  const waits = times.slice(1).map((at, i) => at - (times[i] ?? 0));
  assert.deepEqual(waits.slice(0, 3), [7_500, 15_000, 30_000]);
  assert.equal(waits[3], 22_500);
  assert.deepEqual([warnings.length, taken.length], [3, 2]);
});

test('a question that is not answered ends with its link, and with the server', async (t) => {
  const { clock, asked, taken, answers, feed, connect, askedTimes } = made(t);
  answers[0] = 'nothing';
  const link = connect();
  await askedTimes(1);
  link.drop('STREAM_INTERRUPTED');
  await settled();
  assert.equal(asked[0]?.signal?.aborted, true);
  clock.advance(3_600_000);
  await settled();
  assert.equal(asked.length, 1);
  connect();
  await askedTimes(2);
  feed.close();
  assert.equal(asked[1]?.signal?.aborted, true);
  connect();
  clock.advance(3_600_000);
  await settled();
  assert.deepEqual([asked.length, taken.length], [2, 0]);
});
