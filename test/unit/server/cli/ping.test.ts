/** `host ping` and what `host show` says of a link: every answer that the server can give. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { before, test } from 'node:test';
import type { LinkView } from '../../../../server/cli/api-types.ts';
import { bitRate, millis } from '../../../../server/cli/format.ts';
import { linkFacts } from '../../../../server/cli/link-facts.ts';
import { type FakeApi, fakeApi, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

const TIMES = { minMs: 40.9, avgMs: 41.3, p99Ms: 42, maxMs: 42 };
const NO_TIMES = { minMs: null, avgMs: null, p99Ms: null, maxMs: null };
const PINGS = [
  { type: 'ping', seq: 1, roundTripMs: 40.94 },
  { type: 'ping', seq: 2, roundTripMs: null },
  { type: 'summary', sent: 2, received: 1, ...TIMES },
];
const LOADED = { sent: 20, received: 20, minMs: 41, avgMs: 52.04, p99Ms: 61, maxMs: 62 };
const TESTS = [
  { type: 'throughput', direction: 'to-host', bytes: 4_750_000, bytesPerSecond: 2_375_000, loaded: LOADED },
  {
    type: 'throughput',
    direction: 'from-host',
    bytes: 1,
    bytesPerSecond: null,
    loaded: { sent: 1, received: 0, ...NO_TIMES },
  },
];

function ndjson(response: ServerResponse, records: readonly object[]): undefined {
  response.setHeader('content-type', 'application/x-ndjson');
  response.end(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

async function api(t: Parameters<typeof fakeApi>[0], pings: readonly object[] = PINGS): Promise<FakeApi> {
  const server = await fakeApi(t, identity);
  server.on('POST /api/v1/hosts/shed/ping', (_seen, response) => ndjson(response, pings));
  server.on('POST /api/v1/hosts/shed/throughput', (_seen, response) => ndjson(response, TESTS));
  return server;
}

test('pings, their summary, and the throughput with the round trip idle and loaded', async (t) => {
  const server = await api(t);
  const { code, out, err } = await runAgainst(server, ['host', 'ping', 'shed', '-c', '2', '-i', '0.25']);
  assert.equal(code, 0, err);
  assert.deepEqual(out.split('\n'), [
    'ping 1: 40.9 ms',
    'ping 2: no answer in time',
    '2 sent, 1 answered, 50 % lost; min 40.9 ms, avg 41.3 ms, p99 42.0 ms, max 42.0 ms',
    'to the host:   19.0 Mbit/s; round trip idle 41.3 ms, loaded 52.0 ms (p99 61.0 ms)',
    'from the host: too little came to tell; round trip idle 41.3 ms, loaded no ping answered',
    '',
  ]);
  assert.deepEqual(server.requests.find(({ url }) => url.pathname.endsWith('/ping'))?.body, {
    count: 2,
    intervalMs: 250,
  });
});

test('--json is one document, --no-throughput leaves the test out', async (t) => {
  const server = await api(t);
  const all = JSON.parse((await runAgainst(server, ['host', 'ping', 'shed', '--json'])).out);
  assert.deepEqual(all.pings, [
    { seq: 1, roundTripMs: 40.94 },
    { seq: 2, roundTripMs: null },
  ]);
  assert.deepEqual(all.summary, { sent: 2, received: 1, ...TIMES });
  assert.deepEqual(
    all.throughput.map(({ direction }: { direction: string }) => direction),
    ['to-host', 'from-host'],
  );
  const without = await runAgainst(server, ['host', 'ping', 'shed', '--json', '--no-throughput']);
  assert.deepEqual(JSON.parse(without.out).throughput, []);
  assert.equal(server.requests.filter(({ url }) => url.pathname.endsWith('/throughput')).length, 1);
});

test('a host that answers no ping is no success, and is not tested', async (t) => {
  const server = await api(t, [PINGS[1] ?? {}, { type: 'summary', sent: 1, received: 0, ...NO_TIMES }]);
  const { code, out } = await runAgainst(server, ['host', 'ping', 'shed', '-c', '1']);
  assert.equal(code, 1);
  assert.match(out, /1 sent, 0 answered, 100 % lost$/m);
  assert.ok(server.requests.every(({ url }) => !url.pathname.endsWith('/throughput')));
});

test('a throughput test that is refused is a note, and a failure for who insists', async (t) => {
  const server = await api(t);
  server.on('POST /api/v1/hosts/shed/throughput', (_seen, response) =>
    problem(response, 403, 'FORBIDDEN', 'this needs the role operator'),
  );
  const noted = await runAgainst(server, ['host', 'ping', 'shed']);
  assert.equal(noted.code, 0);
  assert.match(noted.err, /^fairlead: no throughput: this needs the role operator \(FORBIDDEN\)\n$/);
  assert.equal((await runAgainst(server, ['host', 'ping', 'shed', '--throughput'])).code, 1);
  server.on('POST /api/v1/hosts/shed/throughput', (_seen, response) =>
    ndjson(response, [{ error: { code: 'STREAM_INTERRUPTED', detail: 'the host was lost' } }]),
  );
  const lost = await runAgainst(server, ['host', 'ping', 'shed']);
  assert.deepEqual([lost.code, lost.err], [1, 'fairlead: the host was lost (STREAM_INTERRUPTED)\n']);
});

test('an answer that ends early is none', async (t) => {
  const server = await api(t, PINGS.slice(0, 1));
  const { code, err } = await runAgainst(server, ['host', 'ping', 'shed']);
  assert.equal(code, 1);
  assert.match(err, /STREAM_INTERRUPTED/);
});

test('command lines that are wrong', async (t) => {
  const server = await api(t);
  for (const args of [
    ['-c', '0'],
    ['-i', '0.1'],
    ['-i', '61'],
    ['-i', 'soon'],
    ['-i', '1e1'],
  ]) {
    assert.equal((await runAgainst(server, ['host', 'ping', 'shed', ...args])).code, 2, args.join(' '));
  }
});

test('rates and times read as networks are measured', () => {
  assert.deepEqual([1, 125, 124_999, 2_500_000, 1e9, 1e12].map(bitRate), [
    '8 bit/s',
    '1.0 kbit/s',
    '1000.0 kbit/s',
    '20.0 Mbit/s',
    '8.0 Gbit/s',
    '8000.0 Gbit/s',
  ]);
  assert.equal(millis(0.04), '0.0 ms');
});

test('what a link has measured is told as far as it is known', () => {
  const unknown = {
    ...{ roundTripIdleMs: null, roundTripMs: null, deliveryBytesPerSecond: null, inFlightBytes: 0 },
    ...{ inFlightLimitBytes: null, creditStarvedMs: 0, socketBlockedMs: 0 },
    queuedBytes: { control: 0, interactive: 0, bulk: 0 },
  };
  const none = { rawBytes: 0, wireBytes: 0 };
  const link: LinkView = {
    ...{ bytesIn: 1024, bytesOut: 0, openStreams: 2, memoryBytes: 2048, compressedIn: none, compressedOut: none },
    ...{ toAgent: unknown, fromAgent: null },
  };
  assert.deepEqual(linkFacts(null), []);
  assert.deepEqual(Object.fromEntries(linkFacts(link)), {
    'Round trip': undefined,
    Traffic: '1.0 KiB in, 0 B out; 2 open streams',
    Memory: '2.0 KiB',
    Compressed: undefined,
    'To the host': '0 B in flight',
    'From the host': undefined,
  });
  const busy = {
    ...{ roundTripIdleMs: 40, roundTripMs: 52, deliveryBytesPerSecond: 2_500_000, inFlightBytes: 2048 },
    ...{ inFlightLimitBytes: 4096, creditStarvedMs: 20, socketBlockedMs: 65_000 },
    queuedBytes: { control: 1, interactive: 2, bulk: 3 },
  };
  const facts = Object.fromEntries(
    linkFacts({ ...link, fromAgent: busy, compressedIn: { rawBytes: 4096, wireBytes: 1024 } }),
  );
  assert.equal(facts['Compressed'], '4.0 KiB to 1.0 KiB');
  assert.equal(facts['Round trip'], 'idle 40.0 ms, now 52.0 ms');
  assert.equal(
    facts['From the host'],
    '20.0 Mbit/s; 2.0 KiB of 4.0 KiB in flight; queued 1 B control, 2 B interactive, 3 B bulk; waited 20 ms for credit; ' +
      'waited 1m for the socket',
  );
});
