/** The routes of metrics: how they ask, what they answer, what they refuse. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readStep, readTime } from '../../../../server/routes/metric-times.ts';
import type { HostSample } from '../../../../shared/messages/metrics.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { type FakeStream, HOST, NOW } from './fake-host.ts';
import { as, ask, type FixtureOptions, fixture } from './fakes.ts';

const BASE = '/api/v1/hosts/edge-1';
const SAMPLE: HostSample = {
  at: 5,
  uptimeSeconds: 60,
  cpu: { percent: 12.5, user: 10, system: 2.5, iowait: 1, steal: 0, cores: [25, 0] },
  load: [1, 2, 3],
};

async function made(overrides: FixtureOptions['overrides'] = {}, more: FixtureOptions = {}) {
  return await fixture({ ...more, overrides: { clock: new FakeClock(NOW), ...overrides } });
}

test('times are RFC 3339, Unix seconds, or how long ago', () => {
  const now = NOW / 1000;
  for (const [text, seconds] of [
    ['now', now],
    ['-1h', now - 3600],
    ['-1d12h', now - 129_600],
    ['1700000000.5', 1_700_000_000.5],
    ['2026-01-02T03:04:05Z', now],
    ['2026-01-02T04:04:05+01:00', now],
    ['2026-01-02T03:04:05', now],
    ['2026-01-02', Date.UTC(2026, 0, 2) / 1000],
  ] as const) {
    assert.equal(readTime('from', text, now), seconds, text);
  }
  for (const text of ['', '1h', '-', '-1', '-h', 'today', '2026-13-40', '1e9', '-1y', '12345678901234']) {
    assert.throws(() => readTime('to', text, now), { code: 'VALIDATION', message: /^to is no time/ }, text);
  }
});

test('steps are seconds or durations', () => {
  assert.deepEqual(['30', '30s', '5m', '1h', '1d'].map(readStep), [30, 30, 300, 3600, 86_400]);
  for (const text of ['0', '-5', '1.5', '1w', '400d', 'x', '99999999999']) {
    assert.throws(() => readStep(text), { code: 'VALIDATION', message: /step is no step/ }, text);
  }
});

test('a history is asked for by the host’s id and answered in one form', async (t) => {
  const statistic = { avg: 1.5, min: 1, max: 2 };
  const asked: unknown[] = [];
  const { api } = await made({
    hostMetrics: {
      latest: () => undefined,
      history: async (...question) => {
        asked.push(question.slice(0, 2));
        const groups = {
          load: { one: statistic, five: statistic, fifteen: statistic },
          uptime: { seconds: statistic },
        };
        return { from: 60, to: 180, step: 60, points: [{ at: 120, samples: 2, groups }] };
      },
    },
  });
  t.after(() => api.close());
  const answer = await ask(api, { url: `${BASE}/metrics?from=-2h&to=-1h&step=1m`, headers: as('viewer') });
  assert.deepEqual(asked, [[HOST.id, { from: NOW / 1000 - 7200, to: NOW / 1000 - 3600, step: 60 }]]);
  assert.deepEqual(answer.json(), {
    from: '1970-01-01T00:01:00.000Z',
    to: '1970-01-01T00:03:00.000Z',
    step: 60,
    points: [
      {
        time: '1970-01-01T00:02:00.000Z',
        samples: 2,
        load: { one: statistic, five: statistic, fifteen: statistic },
        uptime: { seconds: statistic },
      },
    ],
  });
  await ask(api, { url: `${BASE}/metrics`, headers: as('viewer') });
  assert.deepEqual(asked[1], [HOST.id, { from: NOW / 1000 - 3600, to: NOW / 1000 }]);
});

test('so many histories of a host at once, and no more', async (t) => {
  const reading = Promise.withResolvers<never>();
  reading.promise.catch(() => undefined);
  let begun = 0;
  const history = () => {
    begun += 1;
    return reading.promise;
  };
  const { api } = await made({ hostMetrics: { latest: () => undefined, history } });
  t.after(() => api.close());
  const url = `${BASE}/metrics`;
  const all = Array.from({ length: 4 }, () => ask(api, { url, headers: as('viewer') }));
  await waitFor('all to be asked', () => begun === 4);
  const excess = await ask(api, { url, headers: as('viewer') });
  assert.deepEqual([excess.statusCode, excess.json().code], [503, 'OVERLOADED']);
  reading.reject(new Error('over'));
  for (const one of await Promise.all(all)) assert.equal(one.statusCode, 500);
  assert.notEqual((await ask(api, { url, headers: as('viewer') })).json().code, 'OVERLOADED');
});

test('the latest sample has its age, and what a host did not tell is not there', async (t) => {
  const latest = (id: string) => (id === HOST.id ? { sample: SAMPLE, receivedAt: NOW - 2_500 } : undefined);
  const history = () => Promise.reject(new Error('not asked'));
  const { api } = await made({ hostMetrics: { latest, history } });
  t.after(() => api.close());
  const metrics = {
    time: new Date(NOW - 2_500).toISOString(),
    ageSeconds: 2.5,
    agentTime: '1970-01-01T00:00:00.005Z',
    uptimeSeconds: 60,
    cpu: SAMPLE.cpu,
    load: { one: 1, five: 2, fifteen: 3 },
  };
  assert.deepEqual((await ask(api, { url: `${BASE}/metrics/latest`, headers: as('viewer') })).json(), metrics);
  const fleet = await ask(api, { url: '/api/v1/metrics/hosts?tag=lab&tag=eu', headers: as('viewer') });
  const items = [{ host: 'edge-1', hostId: HOST.id, state: 'online', metrics }];
  assert.deepEqual(fleet.json(), { items, nextCursor: null });
  const others = await ask(api, { url: '/api/v1/metrics/hosts?tag=lab&tag=us', headers: as('viewer') });
  assert.deepEqual(others.json().items, []);
});

test('hosts without a sample are listed as such, revoked ones not at all', async (t) => {
  const away = { ...HOST, id: 'h2', name: 'away', state: 'offline' as const };
  const revoked = { ...HOST, id: 'h3', name: 'gone', state: 'revoked' as const };
  const { api } = await made({}, { hosts: [HOST, away, revoked] });
  t.after(() => api.close());
  const { items } = (await ask(api, { url: '/api/v1/metrics/hosts', headers: as('viewer') })).json();
  assert.deepEqual(
    items.map(({ host, state, metrics }: { host: string; state: string; metrics: null }) => [host, state, metrics]),
    [
      ['edge-1', 'online', null],
      ['away', 'offline', null],
    ],
  );
  const none = await ask(api, { url: `${BASE}/metrics/latest`, headers: as('viewer') });
  assert.deepEqual([none.statusCode, none.json().code], [404, 'NOT_FOUND']);
});

test('a fresh sample is asked of the host, and is no older than its answer', async (t) => {
  const answers = { 'host.metrics': () => ({ reading: 1, sample: SAMPLE }) };
  const { api, host } = await made({}, { answers });
  t.after(() => api.close());
  const fresh = (await ask(api, { url: `${BASE}/metrics/latest?fresh=1`, headers: as('viewer') })).json();
  assert.deepEqual([fresh.cpu.percent, fresh.ageSeconds, fresh.time], [12.5, 0, new Date(NOW).toISOString()]);
  assert.deepEqual([host.asked[0]?.params, host.asked[0]?.timeoutMs], [{}, 10_000]);
});

test('statistics of containers are by name, and say which ones failed and why', async (t) => {
  const items = [
    { id: 'b', name: 'zoo', cpuPercent: 150.5, pids: 2 },
    { id: 'a', name: 'bar', error: { code: 'TIMEOUT', message: 'Docker did not answer' } },
  ];
  const answers = {
    'host.stats': ({ stream }: { stream: FakeStream }) => {
      stream.itemList = items;
      return { count: 2 };
    },
  };
  const { api } = await made({}, { answers });
  t.after(() => api.close());
  const answer = await ask(api, { url: `${BASE}/stats`, headers: as('viewer') });
  assert.deepEqual(answer.json(), {
    time: new Date(NOW).toISOString(),
    items: [{ id: 'a', name: 'bar', error: { code: 'TIMEOUT', detail: 'Docker did not answer' } }, items[0]],
  });
});

test('a host that answers with no end of containers is cut off', async (t) => {
  const answers = {
    'host.stats': ({ stream }: { stream: FakeStream }) => {
      stream.itemList = (function* () {
        for (;;) yield { id: 'a', name: 'n'.repeat(200) };
      })();
      return { count: 1 };
    },
  };
  const { api } = await made({}, { answers });
  t.after(() => api.close());
  const answer = await ask(api, { url: `${BASE}/stats`, headers: as('viewer') });
  assert.deepEqual([answer.statusCode, answer.json().code], [503, 'OVERLOADED']);
});
