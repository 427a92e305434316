/** What a scrape says, and that no counter ever falls. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { LinkTraffic } from '../../../server/hosts/host-link.ts';
import { type MeteredSession, Metrics } from '../../../server/metrics.ts';
import type { HostRow } from '../../../server/store/hosts.ts';

const DAY_MS = 24 * 60 * 60_000;
const NOW = 1_800_000_000_000;

class FakeSession implements MeteredSession {
  readonly stats = {
    bytesIn: 0,
    bytesOut: 0,
    framesIn: 0,
    framesOut: 0,
    creditStarvedMs: 0,
    socketBlockedMs: 0,
    resetsByCode: new Map<string, number>(),
  };
  openStreams = 0;
  lastActivityAt = NOW;
  readonly #end = Promise.withResolvers<void>();
  readonly closed = this.#end.promise;

  async end(): Promise<void> {
    this.#end.resolve();
    await this.closed;
  }
}

function made(t: TestContext, hosts: Partial<HostRow>[] = [], notAfters: number[] = [], traffic?: LinkTraffic) {
  let online: (link: object) => void = () => undefined;
  let beat: () => void = () => undefined;
  const metrics = new Metrics({
    registry: {
      subscribe: (listener) => {
        online = listener.online;
        return () => undefined;
      },
      link: (id) => (id === 'on' ? { traffic: () => traffic } : undefined),
    },
    store: {
      hosts: { list: async () => ({ items: hosts as HostRow[] }) },
      certificates: {
        active: async () => notAfters.map((notAfter, i) => ({ serial: String(i), hostId: 'h', notAfter })),
      },
    },
    clock: {
      now: () => NOW,
      monotonic: () => 0,
      setTimeout: () => ({ cancel: () => undefined }),
      setInterval: (callback) => {
        beat = callback;
        return { cancel: () => undefined };
      },
    },
  });
  t.after(() => metrics.close());
  const value = async (line: string) => {
    const text = await metrics.text();
    const found = text.split('\n').find((each) => each.startsWith(`${line} `));
    return found === undefined ? undefined : Number(found.slice(line.length + 1));
  };
  return { metrics, value, online: (link: object) => online(link), tick: () => beat() };
}

test('sessions are counted while they live and after', async (t) => {
  const { value, online } = made(t);
  const [first, second] = [new FakeSession(), new FakeSession()];
  online({ session: first });
  online({ session: second });
  online({ of: 'another protocol' });
  online({ session: { closed: Promise.resolve() } });
  Object.assign(first.stats, { bytesIn: 10, bytesOut: 1, creditStarvedMs: 1500 });
  first.stats.resetsByCode.set('CANCELLED', 2);
  first.openStreams = 3;
  second.stats.bytesIn = 5;
  second.stats.resetsByCode.set('CANCELLED', 1);
  assert.equal(await value('fairlead_sessions'), 2);
  assert.equal(await value('fairlead_streams_open'), 3);
  assert.equal(await value('fairlead_session_bytes_total{direction="in"}'), 15);
  assert.equal(await value('fairlead_credit_starved_seconds_total'), 1.5);
  assert.equal(await value('fairlead_stream_resets_total{code="CANCELLED"}'), 3);
  await first.end();
  assert.equal(await value('fairlead_sessions'), 1);
  assert.equal(await value('fairlead_streams_open'), 0);
  assert.equal(await value('fairlead_session_bytes_total{direction="in"}'), 15, 'nothing is lost or counted twice');
  assert.equal(await value('fairlead_stream_resets_total{code="CANCELLED"}'), 3);
  assert.equal(await value('fairlead_sessions_total'), 2);
});

test('a silent session misses heartbeats', async (t) => {
  const { value, online, tick } = made(t);
  const [silent, alive] = [new FakeSession(), new FakeSession()];
  silent.lastActivityAt = NOW - 21_000;
  alive.lastActivityAt = NOW - 14_000;
  online({ session: silent });
  online({ session: alive });
  tick();
  tick();
  assert.equal(await value('fairlead_heartbeats_missed_total'), 2);
});

test('hosts are counted by state', async (t) => {
  const { value } = made(t, [
    { id: 'on', lastSeenAt: 1 },
    { id: 'off', lastSeenAt: 1 },
    { id: 'new' },
    { id: 'on', revokedAt: 1 },
  ]);
  for (const state of ['online', 'offline', 'pending', 'revoked']) {
    assert.equal(await value(`fairlead_hosts{state="${state}"}`), 1, state);
  }
});

test('certificates are counted by the days they have left', async (t) => {
  const { value } = made(t, [], [NOW - 1, NOW + 2 * DAY_MS, NOW + 30 * DAY_MS]);
  const days = async (limit: string) => await value(`fairlead_certificates_expiring{days="${limit}"}`);
  assert.deepEqual(
    [await days('0'), await days('3'), await days('14'), await days('30'), await days('+Inf')],
    [1, 2, 2, 3, 3],
  );
});

test('requests are counted by route and status, and the process is there', async (t) => {
  const { metrics, value } = made(t);
  metrics.httpRequest('GET', '/api/v1/hosts/:host', 200);
  metrics.httpRequest('GET', '/api/v1/hosts/:host', 200);
  const line = 'fairlead_http_requests_total{method="GET",route="/api/v1/hosts/:host",status="200"}';
  assert.equal(await value(line), 2);
  assert.ok(((await value('process_resident_memory_bytes')) ?? 0) > 0);
});

test('sessions without series of their own are counted', async (t) => {
  const traffic = {
    ...{ bytesIn: 1, bytesOut: 1, openStreams: 0, memoryBytes: 0, fromAgent: undefined },
    ...{ compressedIn: { rawBytes: 0, wireBytes: 0 }, compressedOut: { rawBytes: 0, wireBytes: 0 } },
    toAgent: {
      inFlightBytes: 7,
      queuedBytes: { control: 0, interactive: 0, bulk: 0 },
      creditStarvedMs: 0,
      socketBlockedMs: 0,
    },
  };
  const { value, online } = made(t, [{ id: 'on', name: 'shed' }], [], traffic);
  online({ session: new FakeSession() });
  assert.equal(await value('fairlead_session_series_omitted'), 0);
  online({ session: new FakeSession() });
  assert.equal(await value('fairlead_session_series_omitted'), 1);
  assert.equal(await value('fairlead_session_in_flight_bytes{host="shed",direction="out"}'), 7);
});
