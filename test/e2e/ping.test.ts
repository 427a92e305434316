/** How far a host is and what its link takes, over real sockets: by the API, in the host's view, in the metrics, by the CLI. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const shared = fileCleanup();
const NO_DOCKER = ['--docker', '/nonexistent/docker.sock'];
/** No streams but those of the tests. */
const QUIET = ['--deny', 'host.events', '--deny', 'host.metrics'];
let server: Server;

before(async () => {
  server = await startServer(shared);
  await addHost(shared, server, 'shed', [...NO_DOCKER, ...QUIET]);
});

interface NdjsonRecord {
  type?: string;
  error?: { code: string };
  [name: string]: unknown;
}

async function post(path: string, body: object): Promise<{ status: number; records: NdjsonRecord[] }> {
  const { status, text } = await server.api.post(`/api/v1/hosts/${path}`, body);
  const lines = text.trim().split('\n');
  return { status, records: lines.map((line) => JSON.parse(line) as NdjsonRecord) };
}

async function cli(t: Cleanup, args: string[], tokenFile = join(server.dataDir, 'admin-token')): Promise<CliRun> {
  const base = ['--server', server.runtime.apiUrl, '--api-token-file', tokenFile];
  return await runCliHere([...base, ...args], { env: { XDG_CONFIG_HOME: await tempDir(t) } });
}

async function viewerToken(t: Cleanup): Promise<string> {
  const { body } = await server.api.post('/api/v1/api-tokens', { name: 'looker', role: 'viewer' });
  const file = join(await tempDir(t), 'token');
  await writeFile(file, body.token);
  return file;
}

test('pings come one by one, then their summary', async () => {
  const { status, records } = await post('shed/ping', { count: 3, intervalMs: 200 });
  assert.equal(status, 200);
  assert.deepEqual(
    records.map(({ type, seq }) => [type, seq]),
    [
      ['ping', 1],
      ['ping', 2],
      ['ping', 3],
      ['summary', undefined],
    ],
  );
  for (const { roundTripMs } of records.slice(0, 3)) assert.ok(Number(roundTripMs) > 0 && Number(roundTripMs) < 5_000);
  const summary = records.at(-1);
  assert.deepEqual([summary?.['sent'], summary?.['received']], [3, 3]);
  assert.ok(Number(summary?.['minMs']) <= Number(summary?.['p99Ms']));
});

test('throughput is measured in both directions, with the round trip meanwhile, and audited', async () => {
  const { status, records } = await post('shed/throughput', { ms: 700, maxBytes: 32 * 1024 * 1024 });
  assert.equal(status, 200);
  assert.deepEqual(
    records.map(({ type, direction }) => [type, direction]),
    [
      ['throughput', 'to-host'],
      ['throughput', 'from-host'],
    ],
  );
  for (const { bytes, bytesPerSecond, loaded } of records) {
    assert.ok(Number(bytes) > 64 * 1024 && Number(bytes) <= 32 * 1024 * 1024, String(bytes));
    assert.ok(Number(bytesPerSecond) > 100_000, String(bytesPerSecond));
    assert.ok((loaded as { sent: number }).sent >= 0);
  }
  const audit = (await server.api.get('/api/v1/audit')).body.items as { action: string; result: string }[];
  assert.equal(audit.find(({ action }) => action === 'host.throughput')?.result, 'ok');
});

test('one throughput test of a host at a time, and it ends with its client within a second', async () => {
  const openStreams = async () => (await server.api.get('/api/v1/hosts/shed')).body.link.openStreams as number;
  const leaving = new AbortController();
  const left = server.api.open('POST', '/api/v1/hosts/shed/throughput', { body: {}, signal: leaving.signal });
  const gone = assert.rejects(left);
  await waitFor('the test', async () => (await openStreams()) === 1, { everyMs: 5 });
  const { status, records } = await post('shed/throughput', { ms: 100, maxBytes: 1 });
  assert.deepEqual([status, records[0]?.['code']], [503, 'OVERLOADED']);
  const leftAt = performance.now();
  leaving.abort();
  await gone;
  await waitFor('its end', async () => (await openStreams()) === 0, { timeoutMs: 1_000 });
  // Its place is free once its end stands in the audit log.
  const isFree = async () => (await post('shed/throughput', { ms: 100, maxBytes: 1 })).status === 200;
  await waitFor('its place', isFree, { timeoutMs: 1_000 - (performance.now() - leftAt) });
});

test('a host that is away, or does not serve the test, is told by its code', async (t) => {
  const denying = await addHost(t, server, 'mute', [...NO_DOCKER, '--deny', 'host.throughput']);
  assert.equal((await post('mute/ping', { count: 1 })).status, 200);
  const refused = await post('mute/throughput', {});
  assert.deepEqual([refused.status, refused.records[0]?.['code']], [403, 'DENIED_BY_HOST']);
  await denying.process.stop();
  await waitFor('its absence', async () => (await post('mute/ping', { count: 1 })).status === 503);
});

test("the host's view and the metrics show what the session has measured", async () => {
  const link = await waitFor('a round trip', async () => {
    const { body } = await server.api.get('/api/v1/hosts/shed');
    return body.link?.bytesIn > 0 ? body.link : undefined;
  });
  for (const name of ['inFlightBytes', 'creditStarvedMs', 'socketBlockedMs']) {
    assert.equal(typeof link.toAgent[name], 'number', name);
  }
  assert.deepEqual(Object.keys(link.toAgent.queuedBytes).sort(), ['bulk', 'control', 'interactive']);
  assert.ok(link.toAgent.roundTripIdleMs > 0, 'the round trip of an idle link is known');
  assert.ok(link.toAgent.roundTripMs > 0);
  const list = (await server.api.get('/api/v1/hosts')).body.items;
  assert.ok(list.every((host: object) => !('link' in host)));
  const { text } = await server.api.get('/metrics');
  assert.match(text, /^fairlead_session_round_trip_seconds\{host="shed",direction="out",kind="idle"\} 0\.\d+$/m);
  assert.match(text, /^fairlead_session_queued_bytes\{host="shed",direction="out",class="bulk"\} \d+$/m);
  assert.match(text, /^fairlead_session_series_omitted 0$/m);
});

test('host ping prints round trips and throughput, as text and as JSON', async (t) => {
  const text = await cli(t, ['host', 'ping', 'shed', '-c', '2', '-i', '0.2']);
  assert.equal(text.exit?.code, 0, text.transcript());
  const pings = /^ping 1: \d+\.\d ms\nping 2: \d+\.\d ms\n2 sent, 2 answered, 0 % lost; min .* p99 .* max \d+\.\d ms\n/;
  assert.match(text.stdout, pings);
  assert.match(text.stdout, /^to the host: {3}\d+\.\d [kMG]bit\/s; round trip idle \d+\.\d ms, loaded /m);
  assert.match(text.stdout, /^from the host: \d+\.\d [kMG]bit\/s; /m);
  const json = await cli(t, ['host', 'ping', 'shed', '-c', '1', '--no-throughput', '--json']);
  const { pings: seen, summary, throughput } = JSON.parse(json.stdout);
  assert.deepEqual([seen.length, summary.received, throughput], [1, 1, []]);
  const shown = await cli(t, ['host', 'show', 'shed']);
  assert.match(shown.stdout, /^Round trip: +idle \d+\.\d ms, now \d+\.\d ms$/m);
  assert.match(shown.stdout, /^Traffic: +.* in, .* out; \d+ open streams$/m);
});

test('a viewer sees the round trip, and is told that the throughput is not for him', async (t) => {
  const token = await viewerToken(t);
  const shown = await cli(t, ['host', 'ping', 'shed', '-c', '1'], token);
  assert.equal(shown.exit?.code, 0, shown.transcript());
  assert.match(shown.stdout, /1 sent, 1 answered/);
  assert.match(shown.stderr, /no throughput: .*role operator.*FORBIDDEN/);
  const wanted = await cli(t, ['host', 'ping', 'shed', '-c', '1', '--throughput'], token);
  assert.equal(wanted.exit?.code, 1, wanted.transcript());
});
