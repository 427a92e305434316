/** The series of single hosts: what stands in them, what is left out, and how many there are at most. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostSeries, MAX_SERIES_HOSTS } from '../../../server/host-series.ts';
import type { LinkTraffic } from '../../../server/hosts/host-link.ts';
import type { HostRow } from '../../../server/store/hosts.ts';
import type { LinkFigures } from '../../../shared/messages/link.ts';

const NOTHING: LinkFigures = {
  inFlightBytes: 0,
  queuedBytes: { control: 0, interactive: 0, bulk: 0 },
  creditStarvedMs: 0,
  socketBlockedMs: 0,
};

function traffic(toAgent: Partial<LinkFigures>, fromAgent?: Partial<LinkFigures>): LinkTraffic {
  return {
    ...{ bytesIn: 0, bytesOut: 0, openStreams: 0, memoryBytes: 0 },
    ...{ compressedIn: { rawBytes: 0, wireBytes: 0 }, compressedOut: { rawBytes: 0, wireBytes: 0 } },
    toAgent: { ...NOTHING, ...toAgent },
    fromAgent: fromAgent && { ...NOTHING, ...fromAgent },
  };
}

const NETWORK = { receivedBytesPerSecond: 7, sentBytesPerSecond: 0 };

/** A store with these hosts, all of them online unless their traffic is undefined. */
function sources(hosts: Record<string, LinkTraffic | undefined>) {
  const names = Object.keys(hosts);
  let asked = 0;
  return {
    registry: { link: (id: string) => (hosts[id] === undefined ? undefined : { traffic: () => hosts[id] }) },
    store: {
      hosts: {
        list: async ({ limit = 100, cursor }: { limit?: number | undefined; cursor?: string | undefined }) => {
          const from = Number(cursor ?? 0);
          asked += 1;
          const items = names.slice(from, from + limit).map((name) => ({ id: name, name }) as HostRow);
          const next = from + limit < names.length ? { nextCursor: String(from + limit) } : {};
          return { items, ...next };
        },
      },
    },
    pages: () => asked,
  };
}

test('both directions, in base units, without what is not known', async () => {
  const { text, hosts } = await hostSeries(
    sources({
      shed: traffic(
        { roundTripIdleMs: 40.5, roundTripMs: 52, queuedBytes: { control: 1, interactive: 2, bulk: 3 } },
        { deliveryBytesPerSecond: 2_500_000, inFlightLimitBytes: 70_000, creditStarvedMs: 1500, socketBlockedMs: 20 },
      ),
      away: undefined,
    }),
  );
  assert.equal(hosts, 1);
  for (const line of [
    '# TYPE fairlead_session_round_trip_seconds gauge',
    'fairlead_session_round_trip_seconds{host="shed",direction="out",kind="idle"} 0.0405',
    'fairlead_session_round_trip_seconds{host="shed",direction="out",kind="now"} 0.052',
    'fairlead_session_queued_bytes{host="shed",direction="out",class="interactive"} 2',
    'fairlead_session_delivery_bytes_per_second{host="shed",direction="in"} 2500000',
    'fairlead_session_in_flight_limit_bytes{host="shed",direction="in"} 70000',
    '# TYPE fairlead_session_credit_starved_seconds_total counter',
    'fairlead_session_credit_starved_seconds_total{host="shed",direction="in"} 1.5',
    'fairlead_session_socket_blocked_seconds_total{host="shed",direction="in"} 0.02',
  ]) {
    assert.ok(text.split('\n').includes(line), line);
  }
  assert.doesNotMatch(text, /delivery_bytes_per_second\{host="shed",direction="out"/);
  assert.doesNotMatch(text, /away|undefined|NaN/);
});

test('all lines of one metric stand together, under one head', async () => {
  const { text } = await hostSeries(sources({ a: traffic({ roundTripMs: 1 }), b: traffic({ roundTripMs: 2 }) }));
  const names = text
    .trim()
    .split('\n')
    .map((line) => /^(?:# (?:HELP|TYPE) )?(\w+)/.exec(line)?.[1]);
  const changes = names.filter((name, i) => name !== names[i - 1]);
  assert.equal(changes.length, new Set(changes).size);
  assert.equal(names.filter((name) => name === 'fairlead_session_round_trip_seconds').length, 4);
});

test('no more hosts than the limit have series, and other turns come between', async () => {
  const many = Object.fromEntries(Array.from({ length: MAX_SERIES_HOSTS + 250 }, (_, i) => [`host-${i}`, traffic({})]));
  const made = sources(many);
  let turns = 0;
  let isOver = false;
  const count = () => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  const { hosts, text } = await hostSeries(made);
  isOver = true;
  assert.equal(hosts, MAX_SERIES_HOSTS);
  assert.ok(turns >= made.pages(), `${turns} turns for ${made.pages()} pages`);
  assert.equal(text.split('\n').filter((line) => line.startsWith('fairlead_session_in_flight_bytes')).length, hosts);
});

test('a name cannot break out of its label', async () => {
  const { text } = await hostSeries(sources({ 'a"b\\c\nd': traffic({}) }));
  assert.match(text, /\{host="a\\"b\\\\c\\nd",direction="out"\}/);
});

test('what a host uses, in base units, of hosts that are connected and have told it', async () => {
  const cpu = { percent: 12.34, user: 10, system: 2.34, iowait: 0, steal: 0, cores: [24.68, 0] };
  const sample = { at: 1, uptimeSeconds: 60, cpu, load: [0.5, 1, 2], network: NETWORK };
  const current = (id: string) => (id === 'silent' ? undefined : { sample, ageMs: 1_234 });
  const made = sources({ shed: traffic({}), silent: traffic({}), away: undefined });
  const { text } = await hostSeries({ ...made, current });
  for (const line of [
    '# TYPE fairlead_host_cpu_usage_ratio gauge',
    'fairlead_host_cpu_usage_ratio{host="shed"} 0.1234',
    'fairlead_host_cpu_mode_ratio{host="shed",mode="system"} 0.0234',
    'fairlead_host_cpus{host="shed"} 2',
    'fairlead_host_load{host="shed",window="5m"} 1',
    'fairlead_host_network_bytes_per_second{host="shed",direction="sent"} 0',
    'fairlead_host_sample_age_seconds{host="shed"} 1.234',
    'fairlead_host_uptime_seconds{host="shed"} 60',
  ]) {
    assert.ok(text.split('\n').includes(line), line);
  }
  assert.doesNotMatch(text, /fairlead_host_(swap|docker_disk|memory)_bytes\{/);
  assert.doesNotMatch(text, /fairlead_host_\w+\{host="(silent|away)"|undefined|NaN/);
});
